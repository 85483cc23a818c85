/** Idempotency keys are bounded for all accounts together; nobody's are forgotten for those of an account that has more. */

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { type AuthNodes, type Person, startAuthNodes } from '../support/auth-relay.ts';
import { type Backend, backends } from '../support/backends.ts';
import { send } from '../support/http-client.ts';
import { untilAnswer } from '../support/valkey.ts';

const KEYS_MAX = 100;

function suite(backend: Backend): void {
	test('another account that stores many keys displaces none of a victim', async (t) => {
		const nodes: AuthNodes = await startAuthNodes(backend, { PULSAR_IDEMPOTENCY_MAX_KEYS: String(KEYS_MAX) });
		t.after(() => nodes.close());
		const { first, last } = nodes;
		const [victim, flood] = [await first.person('victim'), await first.person('flood')];
		const publish = async (url: string, { token }: Person, key: string) => {
			const headers = { authorization: `Bearer ${token}`, 'content-type': 'application/json', 'idempotency-key': key };
			const answer = await send(`${url}/api/v1/messages`, { method: 'POST', headers, body: '{"topic":"t","payload":1}' });
			assert.equal(answer.status, 201, answer.text);
			return answer.json<{ message_id: string }>().message_id;
		};
		const ids = new Map<string, string>();
		for (let i = 0; i < 10; i++) ids.set(`k${i}`, await publish(first.url, victim, `k${i}`));
		const oldest = await publish(first.url, flood, 'oldest');
		const store = () => Promise.all(Array.from({ length: 150 }, (_, i) => publish(last.url, flood, `k${i}`)));
		await store();
		await untilAnswer(async () => (await publish(last.url, flood, 'oldest')) !== oldest, 'the oldest of the flood is forgotten');
		for (const [key, id] of ids) assert.equal(await publish(last.url, victim, key), id, key);
	});
}

for (const backend of backends) {
	describe(`the ${backend.name} store`, { skip: backend.unavailable ?? false }, () => suite(backend));
}
