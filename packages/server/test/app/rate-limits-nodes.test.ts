/** Rate limits of two nodes over one Valkey server: shared within a second, for wrong passwords at once, and never in the way. */

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { type AuthRelay, startAuthRelay } from '../support/auth-relay.ts';
import { send } from '../support/http-client.ts';
import { startValkey, untilAnswer, type Valkey, valkeyUnavailable } from '../support/valkey.ts';

const PER_MINUTE = 60;

describe('two nodes', { skip: valkeyUnavailable() ?? false }, () => {
	let valkey: Valkey;
	let nodes: readonly [AuthRelay, AuthRelay];
	before(async () => {
		valkey = await startValkey({ settings: { appendonly: 'yes' } });
		const env = { ...valkey.relayEnv, PULSAR_RATE_LIMIT: String(PER_MINUTE), PULSAR_LOG_LEVEL: 'info' };
		nodes = [await startAuthRelay(env), await startAuthRelay(env)];
	});
	after(async () => {
		for (const node of nodes) await node.close();
		await valkey.stop();
	});

	const remaining = async (node: AuthRelay, token: string) => {
		const answer = await node.call('GET', '/auth/me', token);
		return { status: answer.status, left: Number(answer.headers.get('x-ratelimit-remaining')) };
	};

	test('give together what an account may have', async () => {
		const person = await nodes[0].person('person');
		for (let i = 0; i < PER_MINUTE; i++) await nodes[0].call('GET', '/auth/me', person);
		assert.equal((await nodes[0].call('GET', '/auth/me', person)).status, 429);
		await untilAnswer(async () => (await remaining(nodes[1], person.token)).status === 429, 'refused by the other, too');
	});

	test('count wrong passwords together, without a delay', async () => {
		const person = await nodes[0].person('guessed');
		for (let i = 0; i < 5; i++) {
			const node = nodes[i % 2] as AuthRelay;
			assert.equal((await node.login('guessed', `wrong-${i}`)).status, 401);
		}
		for (const node of nodes) assert.equal((await node.login('guessed', person.password)).status, 429);
	});

	test('let no more wrong passwords through together than one would, also when they come all at once', async () => {
		await nodes[0].person('guessed-at-once');
		const guesses = Array.from({ length: 20 }, (_, i) => (nodes[i % 2] as AuthRelay).login('guessed-at-once', `wrong-${i}`));
		const statuses = (await Promise.all(guesses)).map(({ status }) => status);
		assert.equal(statuses.filter((status) => status === 401).length, 5, statuses.join(' '));
		assert.equal(statuses.filter((status) => status === 429).length, 15, statuses.join(' '));
	});

	test('let everybody in whose password is right, also when they come all at once', async () => {
		const person = await nodes[0].person('busy');
		const startedMs = performance.now();
		const logins = Array.from({ length: 40 }, (_, i) => (nodes[i % 2] as AuthRelay).login('busy', person.password));
		for (const { status, text } of await Promise.all(logins)) assert.equal(status, 200, text);
		assert(performance.now() - startedMs < 20_000);
	});

	test('go on by themselves while the server is away, and tell the operator; no request waits for it', async () => {
		const { url, relay } = nodes[0];
		const logged = (text: string) => () => Promise.resolve(relay.log().includes(text));
		valkey.pause();
		try {
			for (let i = 0; i < 20; i++) {
				const startedMs = performance.now();
				const { status, headers } = await send(`${url}/openapi.json`);
				assert.equal(status, 200);
				assert(headers.has('x-ratelimit-remaining'));
				assert(performance.now() - startedMs < 400);
			}
			await untilAnswer(logged('the nodes do not share their rate limits'), 'told');
		} finally {
			valkey.resume();
		}
		await untilAnswer(logged('the nodes share their rate limits again'), 'told that it is over');
	});
});
