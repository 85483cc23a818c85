/** What a relay 0.3.0 left on Valkey: messages byte for byte, ids, cursors, idempotency keys, accounts, grants and keys are as they were. */

import assert from 'node:assert/strict';
import { copyFile, mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { send } from '../support/http-client.ts';
import { startRelay, type TestRelay } from '../support/relay.ts';
import { startValkey, type Valkey, valkeyUnavailable } from '../support/valkey.ts';

const FIXTURE = new URL('../fixtures/0.3.0/valkey/', import.meta.url).pathname;

interface Expected {
	readonly jwtSecret: string;
	readonly accounts: readonly { readonly username: string; readonly password: string; readonly user_id: string }[];
	readonly topics: Readonly<Record<string, readonly { readonly id: string; readonly payload: string }[]>>;
	readonly keys: readonly { readonly api_key: string }[];
	readonly idempotency: readonly { readonly key: string; readonly body: string; readonly id: string }[];
}

function suite(): void {
	let dir: string;
	let valkey: Valkey;
	let relay: TestRelay;
	let expected: Expected;
	const tokens = new Map<string, string>();

	before(async () => {
		dir = await mkdtemp(join(tmpdir(), 'pulsar-upgrade-'));
		await copyFile(join(FIXTURE, 'dump.rdb'), join(dir, 'dump.rdb'));
		expected = JSON.parse(await readFile(join(FIXTURE, 'expected.json'), 'utf8')) as Expected;
		valkey = await startValkey({ settings: { dir } });
		relay = await startRelay({
			...valkey.relayEnv,
			PULSAR_AUTH: 'required',
			PULSAR_JWT_SECRET_KEY: expected.jwtSecret,
			// The messages are of 2026-11-27.
			PULSAR_PERSISTENT_TIER_RETENTION: '315360000',
			PULSAR_IDEMPOTENCY_WINDOW: '31536000',
		});
		for (const { username, password } of expected.accounts) {
			const body = new URLSearchParams({ username, password, grant_type: 'password' });
			const answer = await send(`${relay.url}/auth/login`, { method: 'POST', body });
			assert.equal(answer.status, 200, answer.text);
			tokens.set(username, answer.json<{ access_token: string }>().access_token);
		}
	});
	after(async () => {
		await relay?.close();
		await valkey?.stop();
		await rm(dir, { recursive: true, force: true });
	});

	const as = (username: string) => ({ authorization: `Bearer ${tokens.get(username)}` });
	const get = (path: string, headers: Readonly<Record<string, string>>) => send(`${relay.url}${path}`, { headers });
	const publish = (body: string, headers: Readonly<Record<string, string>>) =>
		send(`${relay.url}/api/v1/messages`, { method: 'POST', body, headers: { 'content-type': 'application/json', ...headers } });

	/** Ids and payload texts after a cursor, as they come on the wire. */
	async function messagesAfter(topic: string, since: string, headers: Readonly<Record<string, string>>) {
		const messages: { id: string; payload: string }[] = [];
		for (let cursor = since; ; cursor = messages.at(-1)?.id ?? cursor) {
			const { status, text } = await get(`/api/v1/poll?topics=${topic}&since=${cursor}&timeout=0&limit=100`, headers);
			assert.equal(status, 200, text);
			assert.match(text, /"gaps":\[\]|^(?!.*"gaps")/s);
			const page = [...text.matchAll(/"message_id":"(\d+-\d+)".*?"payload":(.*?),"metadata":/gs)];
			for (const [, id = '', payload = ''] of page) messages.push({ id, payload });
			if (page.length === 0) return messages;
		}
	}

	test('every message is there, byte for byte and under its id, and cursors go on where they were', async () => {
		for (const [topic, published] of Object.entries(expected.topics)) {
			// Blanks around a payload were never part of it.
			const messages = published.map(({ id, payload }) => ({ id, payload: payload.trim() }));
			assert.deepEqual(await messagesAfter(topic, '0-0', as('alice')), messages);
			const at = Math.floor(messages.length / 2);
			assert.deepEqual(await messagesAfter(topic, messages[at - 1]?.id ?? '', as('alice')), messages.slice(at));
		}
	});

	test('an idempotency key answers with the first id, and its key with another body is a conflict', async () => {
		assert.ok(expected.idempotency.length > 0);
		for (const { key, body, id } of expected.idempotency) {
			const again = await publish(body, { ...as('alice'), 'idempotency-key': key });
			assert.equal(again.json<{ message_id: string }>().message_id, id, again.text);
		}
		const [first] = expected.idempotency;
		const other = await publish('{"topic":"jobs","payload":"other"}', { ...as('alice'), 'idempotency-key': first?.key ?? '' });
		assert.equal(other.status, 422);
	});

	test('grants, public topics, deleted topics and API keys are as they were', async () => {
		const [alice] = expected.accounts;
		const jobs = expected.topics['jobs'] ?? [];
		const granted = await messagesAfter(`${alice?.user_id}/jobs`, '0-0', as('bob'));
		assert.equal(granted.length, jobs.length);
		assert.equal((await get(`/api/v1/topics/${alice?.user_id}%2Fpublic.news`, as('bob'))).status, 200);
		assert.equal((await publish(`{"topic":"${alice?.user_id}/jobs","payload":1}`, as('bob'))).status, 403);
		assert.equal((await get('/api/v1/topics/gone', as('bob'))).status, 404);
		const [key] = expected.keys;
		const made = await publish('{"topic":"jobs","payload":"by the key"}', { authorization: `Bearer ${key?.api_key}` });
		assert.equal(made.status, 201, made.text);
		assert.deepEqual(
			(await messagesAfter('jobs', jobs.at(-1)?.id ?? '', as('alice'))).map(({ payload }) => payload),
			['"by the key"'],
		);
	});
}

const unavailable = valkeyUnavailable();
if (unavailable === null) describe('what 0.3.0 left on Valkey', suite);
else test('what 0.3.0 left on Valkey', { skip: unavailable }, () => {});
