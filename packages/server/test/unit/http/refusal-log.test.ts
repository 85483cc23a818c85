import assert from 'node:assert/strict';
import type { IncomingMessage } from 'node:http';
import { test } from 'node:test';
import { RelayError } from '@pulsar-relay/protocol/errors';
import { createRefusalLog } from '../../../src/transports/http/refusal-log.ts';
import { createFakeClock } from '../../support/clock.ts';

test('at most ten refusals are logged in a minute, and the next line says how many were left out', () => {
	const clock = createFakeClock();
	const lines: { unlogged?: number }[] = [];
	const logger = { warn: (fields: object) => lines.push(fields) } as unknown as Parameters<typeof createRefusalLog>[0];
	const log = createRefusalLog(logger, clock);
	const request = { headers: { host: 'a' }, method: 'GET', url: '/', socket: {} } as unknown as IncomingMessage;
	const refuse = (count: number) => {
		for (let i = 0; i < count; i++) log(request, new RelayError('untrusted_host', 'no'));
	};
	refuse(25);
	assert.deepEqual([lines.length, lines.at(-1)?.unlogged], [10, undefined]);
	clock.advance(60_000);
	refuse(2);
	assert.deepEqual([lines.length, lines.at(-2)?.unlogged, lines.at(-1)?.unlogged], [12, 15, undefined]);
});
