/** What version 0.3.0 wrote (test/fixtures/0.3.0), and that a relay which opened it still has all of it. */

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { timeOffBy } from '../support/faketime.ts';
import { type Answer, send, sendJson } from '../support/http-client.ts';

export interface Written {
	readonly jwtSecret: string;
	readonly accounts: readonly { readonly username: string; readonly password: string; readonly user_id: string }[];
	readonly keys: readonly { readonly api_key: string }[];
	readonly sessions: readonly { readonly refresh_token: string }[];
	/** Ids and the payloads' JSON texts, in order. */
	readonly topics: Readonly<Record<'jobs' | 'public.news', readonly { readonly id: string; readonly payload: string }[]>>;
	readonly idempotency: readonly { readonly key: string; readonly body: string; readonly id: string }[];
}

const HOUR_MS = 3_600_000;
/** The sign-in sessions of the fixture live until about then. */
const SESSIONS_END_MS = Date.parse('2027-02-20T00:00:00Z');

export function fixturePath(half: 'embedded' | 'valkey', file: string): string {
	return fileURLToPath(new URL(`../fixtures/0.3.0/${half}/${file}`, import.meta.url));
}

export function readWritten(half: 'embedded' | 'valkey'): Written {
	return JSON.parse(readFileSync(fixturePath(half, 'expected.json'), 'utf8')) as Written;
}

/** The settings under which a relay opens it. When its sessions have ended, the relay gets the time of the fixture. */
export function settingsFor({ jwtSecret, topics }: Written): Readonly<Record<string, string>> {
	const newestMs = Number(topics['public.news'].at(-1)?.id.split('-')[0]);
	const isOver = Date.now() > SESSIONS_END_MS;
	return {
		PULSAR_AUTH: 'required',
		PULSAR_JWT_SECRET_KEY: jwtSecret,
		PULSAR_PERSISTENT_TIER_RETENTION: '315360000',
		...(isOver ? timeOffBy(Math.round((newestMs + HOUR_MS - Date.now()) / 1000)) : {}),
	};
}

/** Uses everything that was written, as its owners would. */
export async function checkWritten(url: string, written: Written): Promise<void> {
	const [alice, bob] = await Promise.all(written.accounts.map((account) => signIn(url, account)));
	assert.ok(alice !== undefined && bob !== undefined);
	const [aliceId] = written.accounts.map(({ user_id }) => user_id);
	await checkMessages(url, written, alice);
	await checkKeys(url, written, alice);

	const jobs = `topics=${aliceId}/jobs&since=0-0&timeout=0&limit=1`;
	const news = `topics=${aliceId}/public.news&since=0-0&timeout=0&limit=1`;
	assert.equal((await get(url, `/api/v1/poll?${jobs}`, bob)).status, 200, 'a grant');
	assert.equal((await get(url, `/api/v1/poll?${news}`, bob)).status, 200, 'a public topic');
	assert.equal((await sendJson('POST', `${url}/api/v1/messages`, { topic: `${aliceId}/jobs`, payload: 1 }, bob)).status, 403);

	const key = { Authorization: `Bearer ${written.keys[0]?.api_key}` };
	assert.equal((await get(url, `/api/v1/poll?topics=jobs&since=0-0&timeout=0&limit=1`, key)).status, 200, 'an API key');
	for (const { refresh_token } of written.sessions) {
		const refreshed = await sendJson('POST', `${url}/auth/token/refresh`, { refresh_token });
		assert.equal(refreshed.status, 200, `a sign-in session: ${refreshed.text}`);
	}
}

/** Byte for byte, and from a cursor in the middle. */
async function checkMessages(url: string, { topics }: Written, alice: Headers): Promise<void> {
	for (const [topic, messages] of Object.entries(topics)) {
		const read: string[] = [];
		let cursor = '';
		do {
			const page = await get(url, `/api/v1/topics/${topic}/messages?order=asc&limit=100${cursor}`, alice);
			assert.equal(page.status, 200, page.text);
			read.push(...payloadTexts(page.text));
			const { next_cursor: next, count } = page.json<{ next_cursor: string | null; count: number }>();
			cursor = next === null || count === 0 ? '' : `&cursor=${next}`;
		} while (cursor !== '');
		assert.deepEqual(
			read,
			// Blanks around a value are not part of it; 0.3.0 did not store them.
			messages.map(({ id, payload }) => `${id} ${payload.trim()}`),
		);
		const middle = messages[Math.floor(messages.length / 2)];
		const answer = await get(url, `/api/v1/poll?topics=${topic}&since=${middle?.id}&timeout=0&limit=1000`, alice);
		const { messages: rest } = answer.json<{ messages: { message_id: string }[] }>();
		assert.deepEqual(
			rest.map(({ message_id }) => message_id),
			messages.slice(Math.floor(messages.length / 2) + 1).map(({ id }) => id),
			'a cursor goes on where it stood',
		);
	}
}

/** A retry is answered with the first id, and stores nothing. */
async function checkKeys(url: string, { topics, idempotency }: Written, alice: Headers): Promise<void> {
	for (const { key, body, id } of idempotency) {
		const answer = await sendJson('POST', `${url}/api/v1/messages`, body, { ...alice, 'Idempotency-Key': key });
		assert.equal(answer.json<{ message_id: string }>().message_id, id, answer.text);
	}
	const topic = await get(url, '/api/v1/topics/jobs', alice);
	assert.equal(topic.json<{ message_count: number }>().message_count, topics.jobs.length);
}

/** Id and payload text of each message, as they stand in the answer. */
function payloadTexts(text: string): string[] {
	return text
		.split('{"type":"message","message_id":"')
		.slice(1)
		.map((message) => /^([0-9-]+)".*?,"payload":(.*),"metadata":\{[^{}]*\}\}/s.exec(message)?.slice(1).join(' ') ?? message);
}

type Headers = Readonly<Record<string, string>>;

async function signIn(url: string, { username, password, user_id }: Written['accounts'][number]): Promise<Headers> {
	const body = new URLSearchParams({ username, password, grant_type: 'password' });
	const answer = await send(`${url}/auth/login`, { method: 'POST', body });
	assert.equal(answer.status, 200, answer.text);
	const bearer = { Authorization: `Bearer ${answer.json<{ access_token: string }>().access_token}` };
	assert.equal((await get(url, '/auth/me', bearer)).json<{ user_id: string }>().user_id, user_id);
	return bearer;
}

function get(url: string, path: string, headers: Headers): Promise<Answer> {
	return send(`${url}${path}`, { headers });
}
