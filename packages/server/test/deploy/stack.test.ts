/** The stack, run: Valkey as it is shipped, the relay as the compose file sets it up, and the health checks that Docker would run. */

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { send, sendJson } from '../support/http-client.ts';
import type { RelayProcess } from '../support/process.ts';
import { idsOf, type Reader, sse, transports } from '../support/readers.ts';
import { untilAnswer, valkeyUnavailable } from '../support/valkey.ts';
import { DEPLOY, type HealthCheck, readCompose, readText } from './files.ts';
import { missing } from './programs.ts';
import { type Ended, PASSWORD, run, type Stack, startStack, visibleOf } from './stack.ts';

const compose = readCompose();
const skip = valkeyUnavailable() ?? false;

/** Runs a health check as Docker would, in an environment that stands for the container's. */
function check(
	{ test: [kind, ...words] }: HealthCheck,
	env: NodeJS.ProcessEnv,
	port: readonly [from: number, to: number],
): Promise<Ended> {
	const [file = '', ...args] = kind === 'CMD-SHELL' ? ['sh', '-c', ...words] : words;
	return run(
		file === 'node' ? process.execPath : file,
		args.map((word) => word.replace(`:${port[0]}/`, `:${port[1]}/`)),
		env,
	);
}

function ready(relay: RelayProcess) {
	return send(`${relay.url}/ready`);
}

describe('the stack', { skip, timeout: 120_000 }, () => {
	let stack: Stack;
	let relay: RelayProcess;
	const publish = async (payload: unknown, topic = 'test') => {
		const answer = await sendJson('POST', `${relay.url}/api/v1/messages`, { topic, payload });
		assert.equal(answer.status, 201, answer.text);
		return answer.json<{ message_id: string }>().message_id;
	};

	before(async () => {
		stack = await startStack();
		relay = await stack.startRelay();
	});
	after(() => stack?.stop());

	test('the relay is ready, and what it acknowledges survives kill -9', async () => {
		const answer = await ready(relay);
		assert.equal(answer.status, 200, answer.text);
		assert.equal(answer.json()['durability'], 'everysec');
		assert.match((await send(`${relay.url}/metrics`)).text, /^relay_storage_durability\{level="everysec"\} 1$/m);
	});

	test('what is published to a topic is counted by XLEN, and delivered on every transport', async () => {
		const readers: Reader[] = await Promise.all(transports.map((transport) => transport.open(relay.url, ['test'], 'last')));
		const ids = [await publish(1), await publish(2), await publish(3)];
		for (const reader of readers) {
			await reader.until((received) => received.length === ids.length);
			assert.deepEqual(idsOf(reader.received), ids);
			await reader.close();
		}
		assert.equal(await stack.cli('XLEN', 'topic:test:stream'), '3');
	});

	test('Valkey runs as its file says, and a snapshot is set up', async () => {
		const expected = {
			appendonly: 'yes',
			appendfsync: 'everysec',
			'no-appendfsync-on-rewrite': 'no',
			'maxmemory-policy': 'noeviction',
			maxmemory: String(2 * 1024 ** 3),
			save: '3600 1 300 100 60 10000',
			'stop-writes-on-bgsave-error': 'yes',
		};
		for (const [name, value] of Object.entries(expected))
			assert.deepEqual((await stack.cli('CONFIG', 'GET', name)).split('\n'), [name, value]);
	});

	test('Valkey asks everybody for the password, which no process shows', async () => {
		const { REDISCLI_AUTH: _, ...env } = stack.operatorEnv;
		const refused = await run('valkey-cli', ['XLEN', 'topic:test:stream'], env);
		assert.match(refused.stdout + refused.stderr, /NOAUTH/);
		assert(!(await visibleOf(stack.valkey.pid ?? 0)).includes(PASSWORD));
		assert(!(await visibleOf(relay.child.pid ?? 0)).includes(PASSWORD));
	});

	test("commands that an operator's slip must not reach are not there under their names", async () => {
		for (const command of [['FLUSHALL'], ['FLUSHDB'], ['KEYS', '*'], ['SHUTDOWN'], ['DEBUG', 'SLEEP', '0']]) {
			const { stdout } = await run('valkey-cli', command, stack.operatorEnv);
			assert.match(stdout, /^ERR unknown command/, command.join(' '));
		}
		assert((await stack.cli('operator-keys', 'topic:*')).split('\n').includes('topic:test:stream'));
	});

	test('the health check of Valkey passes, and fails when the server does not know the password', async () => {
		const { healthcheck, environment } = compose.services.valkey;
		const { REDISCLI_AUTH: _, ...operatorEnv } = stack.operatorEnv;
		const env = { ...operatorEnv, ...environment, VALKEY_PASSWORD_FILE: stack.passwordFile };
		const on = [0, 0] as const;
		assert.equal((await check(healthcheck, env, on)).code, 0);
		const wrong = join(dirname(stack.passwordFile), 'wrong');
		await writeFile(wrong, 'wrong\n');
		assert.notEqual((await check(healthcheck, { ...env, VALKEY_PASSWORD_FILE: wrong }, on)).code, 0);
	});

	test('Valkey killed with kill -9 has every acknowledged message when it is back, and subscribers go on', async () => {
		const { healthcheck } = compose.services.relay;
		const on = [8080, Number(new URL(relay.url).port)] as const;
		assert.equal((await check(healthcheck, {}, on)).code, 0);
		const reader = await sse.open(relay.url, ['crash'], 'last');
		const ids: string[] = [];
		for (let i = 0; i < 100; i++) ids.push(await publish(i, 'crash'));

		assert.equal(await stack.endValkey('SIGKILL'), null);
		await untilAnswer(async () => (await ready(relay)).status === 503, 'seen to be down');
		assert.equal((await check(healthcheck, {}, on)).code, 1, 'unhealthy without its store');
		assert.equal((await send(`${relay.url}/health`)).status, 200, 'alive all the same');
		await stack.startValkey();
		await untilAnswer(async () => (await ready(relay)).status === 200, 'ready again');
		assert.equal((await check(healthcheck, {}, on)).code, 0);

		assert.equal(await stack.cli('XLEN', 'topic:crash:stream'), '100');
		ids.push(await publish('after', 'crash'));
		await reader.until((received) => received.length === ids.length);
		assert.deepEqual(idsOf(reader.received), ids);
		await reader.close();
	});

	test('a flush under its new name, and a rewrite after it, leave a file that starts under any names', async () => {
		await stack.cli('operator-flushall');
		await stack.cli('BGREWRITEAOF');
		await untilAnswer(async () => (await stack.cli('INFO', 'persistence')).includes('aof_rewrite_in_progress:0'), 'rewritten');
		await publish('new');
		// Stopped with SIGTERM, as `docker compose stop` does: the script has become the server, so that the signal reaches it.
		assert.equal(await stack.endValkey('SIGTERM'), 0);
		await stack.startValkey();
		assert.equal(await stack.cli('XLEN', 'topic:test:stream'), '1');
	});

	test('the relay drains on SIGTERM and ends with 0', async () => {
		assert.equal(await relay.end('SIGTERM'), 0);
	});
});

describe('start-valkey.sh starts nothing', () => {
	const start = (passwordFile: string) =>
		run('sh', [join(DEPLOY, 'start-valkey.sh'), join(DEPLOY, 'valkey.conf')], {
			...process.env,
			VALKEY_PASSWORD_FILE: passwordFile,
		});

	for (const [name, content, says] of [
		['without a password', '', /is empty/],
		['with one that is only a line end', '\n', /is empty/],
		['with one that would end its own quotes', 'a"b', /letters, digits/],
		['with more than one line', 'a\nuser intruder on', /letters, digits/],
	] as const) {
		test(name, async (t) => {
			const directory = await mkdtemp(join(tmpdir(), 'pulsar-password-'));
			t.after(() => rm(directory, { recursive: true }));
			const file = join(directory, 'password');
			await writeFile(file, content);
			const { code, stderr } = await start(file);
			assert.equal(code, 1);
			assert.match(stderr, says);
		});
	}

	test('when the file of the password is not there', async () => {
		const { code, stderr } = await start('/nonexistent/password');
		assert.equal(code, 1);
		assert.match(stderr, /cannot be read/);
	});
});

/** Grafana is in no package of Debian: the check is run against something that answers as it would. */
test('the health checks over HTTP pass when the service answers 200, and fail otherwise', {
	skip: missing(['wget'], 'wget'),
}, async (t) => {
	for (const name of ['prometheus', 'grafana'] as const) {
		let status = 200;
		const asked: (string | undefined)[] = [];
		const server = createServer((request, response) => {
			asked.push(request.url);
			response.writeHead(status).end();
		});
		server.listen(0, '127.0.0.1');
		await once(server, 'listening');
		t.after(() => server.close());
		const { healthcheck, ports = [] } = compose.services[name];
		const on = [Number(ports[0]?.split(':')[2]), (server.address() as AddressInfo).port] as const;
		assert.equal((await check(healthcheck, process.env, on)).code, 0);
		assert.deepEqual(asked, [name === 'grafana' ? '/api/health' : '/-/ready']);
		status = 503;
		assert.notEqual((await check(healthcheck, process.env, on)).code, 0);
	}
});

test('valkey.conf says nothing twice', () => {
	const names = [...readText('deploy/valkey.conf').matchAll(/^([a-z-]+) (.*)$/gm)].map(([line, name]) =>
		name === 'rename-command' || name === 'client-output-buffer-limit' ? line : name,
	);
	assert.equal(new Set(names).size, names.length);
});
