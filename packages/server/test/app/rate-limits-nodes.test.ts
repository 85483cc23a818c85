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
