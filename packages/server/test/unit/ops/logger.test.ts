/** The log: level names, blacked-out credentials, lines for people. */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createLogger, type LoggerOptions } from '../../../src/ops/logger.ts';

function collecting(options: Omit<LoggerOptions, 'to'>) {
	const lines: string[] = [];
	const logger = createLogger({ ...options, to: { write: (line: string) => lines.push(line) } });
	return { logger, lines };
}

test('JSON lines carry the level names of PULSAR_LOG_LEVEL and an ISO time', () => {
	const { logger, lines } = collecting({ level: 'debug', format: 'json' });
	logger.debug('a');
	logger.info({ topic: 'x' }, 'b');
	logger.warn('c');
	logger.error('d');
	logger.fatal('e');
	const entries = lines.map((line) => JSON.parse(line));
	assert.deepEqual(
		entries.map(({ level, msg }) => [level, msg]),
		[
			['debug', 'a'],
			['info', 'b'],
			['warning', 'c'],
			['error', 'd'],
			['critical', 'e'],
		],
	);
	assert.deepEqual(Object.keys(entries[1]), ['level', 'time', 'topic', 'msg']);
	assert.equal(new Date(entries[1].time).toISOString(), entries[1].time);
});

for (const [level, expected] of [
	['info', ['info', 'warn', 'error', 'fatal']],
	['warning', ['warn', 'error', 'fatal']],
	['error', ['error', 'fatal']],
	['critical', ['fatal']],
] as const) {
	test(`at level ${level}, less severe lines are left out`, () => {
		const { logger, lines } = collecting({ level, format: 'json' });
		for (const method of ['debug', 'info', 'warn', 'error', 'fatal'] as const) logger[method](method);
		assert.deepEqual(
			lines.map((line) => JSON.parse(line).msg),
			expected,
		);
	});
}

for (const format of ['json', 'pretty'] as const) {
	test(`credentials in headers never reach the ${format} log, also not through a child`, () => {
		const { logger, lines } = collecting({ level: 'debug', format });
		const headers = () => ({
			authorization: 'Bearer hunter2',
			cookie: 'session=hunter2',
			'sec-websocket-protocol': 'bearer, bearer.hunter2',
			'user-agent': 'curl',
		});
		logger.info(headers(), 'bare');
		logger.info({ headers: headers() }, 'headers');
		logger.child({ id: 1 }).warn({ req: { headers: headers() } }, 'request');
		logger.child({ req: { headers: headers() } }).error('bound');
		assert.equal(lines.length, 4);
		for (const line of lines) {
			assert.doesNotMatch(line, /hunter2/);
			assert.match(line, /\[redacted\]/);
			assert.match(line, /curl/);
		}
	});
}

test('pretty lines are for people: no JSON, and no colours unless asked for', () => {
	const { logger, lines } = collecting({ level: 'info', format: 'pretty' });
	logger.warn({ topic: 'x' }, 'hello');
	assert.match(lines.join(''), /^\[\d\d:\d\d:\d\d\.\d{3}\] WARN: hello\n {4}topic: "x"\n$/);
	const coloured = collecting({ level: 'info', format: 'pretty', colorize: true });
	coloured.logger.warn('hello');
	assert.ok(coloured.lines.join('').includes('\u001b['));
});
