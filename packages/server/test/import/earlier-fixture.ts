/** Data as pulsar-relay 0.2 leaves it, put into a real Valkey with the commands that server uses. */

import { createHash, randomBytes, randomUUID } from 'node:crypto';
import { hash } from '@node-rs/argon2';
import type { Valkey } from '../support/valkey.ts';

/** What that server hashes passwords with. */
const EARLIER_COST = { memoryCost: 65_536, timeCost: 3, parallelism: 4 } as const;

export interface EarlierAccount {
	readonly userId: string;
	readonly username: string;
	readonly password: string;
}

/** An ISO time as Python writes it. */
export function isoTime(ms: number): string {
	return new Date(ms).toISOString().replace('Z', '123+00:00');
}

/** Writes an account; `more` are fields that shall be otherwise. */
export async function writeAccount(
	valkey: Valkey,
	username: string,
	more: Readonly<Record<string, string>> = {},
): Promise<EarlierAccount> {
	const userId = randomUUID();
	const password = `password-of-${username}`;
	const fields = {
		user_id: userId,
		username,
		email: '',
		hashed_password: await hash(password, EARLIER_COST),
		is_active: 'True',
		created_at: isoTime(Date.now() - 3_600_000),
		permissions: '["read", "write"]',
		owned_topics: '[]',
		federated_identities: '[]',
		...more,
	};
	await valkey.cli('HSET', `user:${userId}`, ...Object.entries(fields).flat());
	await valkey.cli('HSETNX', 'user:username_index', username, userId);
	return { userId, username, password };
}

export async function writeTopic(
	valkey: Valkey,
	ownerId: string,
	name: string,
	more: Readonly<Record<string, string>> = {},
): Promise<string> {
	const id = `${ownerId}/${name}`;
	const fields = {
		topic_id: randomUUID(),
		topic_name: name,
		owner_id: ownerId,
		description: '',
		created_at: isoTime(Date.now() - 3_600_000),
		...more,
	};
	await valkey.cli('HSET', `topic:${id}`, ...Object.entries(fields).flat());
	await valkey.cli('SADD', `user:${ownerId}:owned_topics`, name);
	return id;
}

/** Writes a message under an id; resolves with the id. */
export async function writeMessage(
	valkey: Valkey,
	topic: string,
	id: string,
	payload: string,
	metadata: string | null = null,
): Promise<string> {
	const fields = ['payload', payload, 'timestamp', isoTime(Number(id.split('-')[0]))];
	if (metadata !== null) fields.push('metadata', metadata);
	return valkey.cli('XADD', `stream:topic:${topic}`, id, ...fields);
}

/** Writes `count` messages `{"n": 0}` …, three in each millisecond from `fromMs` on, in one call. */
export async function writeMessages(valkey: Valkey, topic: string, fromMs: number, count: number): Promise<void> {
	const script = `for n = 0, tonumber(ARGV[2]) - 1 do
		local id = string.format('%.0f-%d', tonumber(ARGV[1]) + math.floor(n / 3), n % 3)
		redis.call('XADD', KEYS[1], id, 'payload', '{"n": ' .. n .. '}', 'timestamp', 'then')
	end`;
	await valkey.cli('EVAL', script, '1', `stream:topic:${topic}`, String(fromMs), String(count));
}

/** Writes a session; resolves with its refresh token. */
export async function writeSession(valkey: Valkey, userId: string, more: Readonly<Record<string, string>> = {}): Promise<string> {
	const jti = randomUUID();
	const secret = randomBytes(32).toString('base64url');
	const fields = {
		jti,
		user_id: userId,
		secret_hash: createHash('sha256').update(secret).digest('hex'),
		parent_jti: '',
		issued_at: isoTime(Date.now() - 60_000),
		expires_at: isoTime(Date.now() + 86_400_000),
		last_used_at: '',
		revoked: '0',
		revoked_reason: '',
		client_hint: 'password-login',
		...more,
	};
	await valkey.cli('HSET', `refresh:tok:${jti}`, ...Object.entries(fields).flat());
	await valkey.cli('SADD', `refresh:user:${userId}`, jti);
	return `${jti}.${secret}`;
}
