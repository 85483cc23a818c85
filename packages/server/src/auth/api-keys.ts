/**
 * API keys, for producers and services: `prk_<id>_<secret>`. The id finds the record; of the secret, 32 random bytes, only the
 * SHA-256 is stored. A key has at most two secrets that are good, so that it can be rotated without a moment in which none is. Each has a
 * credential version: connections and scoped tokens know which secret they come from, and end with it.
 */

import { randomBytes } from 'node:crypto';
import { RelayError } from '@pulsar-relay/protocol/errors';
import type { Clock } from '../ports/clock.ts';
import type { Records, StoredRecord } from '../ports/records.ts';
import { ACCOUNT } from './accounts.ts';
import { invalidToken } from './invalid-token.ts';
import { hashOf, isLive, type KeySecret, newSecret, parseKey, placeOf, type StoredSecret, timesOf } from './key-secrets.ts';
import type { Scope } from './principal.ts';
import { RecordCache } from './record-cache.ts';
import { type RequestedScope, shownScopes } from './scopes.ts';

export const API_KEY = 'api-key';
/** `<account>/<key>`, so that an account's keys can be listed. */
const ACCOUNT_KEY = 'account-api-key';
/** When a key was last used. Apart from the key, so that noting a use can never undo a change of the key. */
const KEY_USE = 'api-key-use';

/** Keys of one account. */
export const API_KEYS_MAX = 100;
/** How exact `last_used_at` is. */
const USE_INTERVAL_MS = 60_000;
const USE_KEPT_MS = 400 * 86_400_000;
const USES_HELD_MAX = 10_000;
const ATTEMPTS_MAX = 10;

/** Relays up to 0.3.0 wrote the scopes only as they are in the store. */
interface KeyDocument {
	readonly accountId: string;
	readonly name: string;
	readonly scopes: readonly Scope[];
	readonly requestedScopes?: readonly RequestedScope[];
	readonly createdAtMs: number;
	readonly expiresAtMs: number | null;
	/** One or two, newest first. */
	readonly secrets: readonly StoredSecret[];
}

/** A key as it is kept in memory. */
interface CachedKey {
	readonly fields: Omit<ApiKey, 'liveSecrets'>;
	/** SHA-256 in hex, in the order of the secrets. */
	readonly hashes: readonly string[];
}

/** A key without its secrets. */
export interface ApiKey {
	readonly keyId: string;
	readonly accountId: string;
	readonly name: string;
	readonly scopes: readonly Scope[];
	/** As its owner wrote them: what is shown. */
	readonly requestedScopes: readonly RequestedScope[];
	readonly createdAtMs: number;
	readonly expiresAtMs: number | null;
	/** One or two, newest first, also those whose time is over. */
	readonly secrets: readonly KeySecret[];
	/** Secrets that are good at the moment. */
	readonly liveSecrets: number;
}

/** A key, and the secret by which it was shown. */
export interface ShownKey extends ApiKey {
	/** The credential version of that secret. */
	readonly secretCv: number;
}

/** A key with its secret, which is known at this moment and never again. */
export interface NewApiKey {
	readonly key: ApiKey;
	readonly secret: string;
}

export interface ApiKeyFields {
	readonly name: string;
	readonly scopes: readonly Scope[];
	/** Absent: as the scopes are in the store. */
	readonly requestedScopes?: readonly RequestedScope[];
	readonly expiresAtMs: number | null;
}

export interface ApiKeysOptions {
	readonly records: Records;
	readonly clock: Clock;
	/** Told when noting a use failed: the key works all the same. */
	readonly onUseNotNoted: (error: unknown) => void;
}

export class ApiKeys {
	readonly #options: ApiKeysOptions;
	readonly #cache: RecordCache<CachedKey>;
	/** When this node noted a use last, by key. */
	readonly #noted = new Map<string, number>();

	constructor(options: ApiKeysOptions) {
		this.#options = options;
		this.#cache = new RecordCache({ ...options, kind: API_KEY, decode: (record) => cachedOf(record.id, documentOf(record)) });
	}

	/** Whether a credential has the form of a key. */
	isKey(credential: string): boolean {
		return credential.startsWith('prk_');
	}

	/** Makes a key. Rejects with `forbidden` when the account has as many as it may. */
	async create(accountId: string, fields: ApiKeyFields): Promise<NewApiKey> {
		const { records, clock } = this.#options;
		if ((await this.#keyIdsOf(accountId)).length >= API_KEYS_MAX) {
			throw new RelayError('forbidden', `an account has at most ${API_KEYS_MAX} API keys`);
		}
		const keyId = randomBytes(8).toString('hex');
		const secret = newSecret();
		const document: KeyDocument = {
			...fields,
			accountId,
			createdAtMs: clock.nowMs(),
			secrets: [{ hash: hashOf(secret), cv: 1, sinceMs: clock.nowMs(), expiresAtMs: null }],
		};
		const { expiresAtMs } = fields;
		const outcome = await records.write([
			{ op: 'check', kind: ACCOUNT, id: accountId, expected: 'present' },
			{ op: 'put', kind: API_KEY, id: keyId, value: { ...document }, expected: 'absent', expiresAtMs },
			{ op: 'put', kind: ACCOUNT_KEY, id: `${accountId}/${keyId}`, value: {}, expected: 'absent', expiresAtMs },
		]);
		if (outcome.status === 'conflict') throw new RelayError('overloaded', 'the key could not be made now');
		return { key: this.#keyOf(cachedOf(keyId, document)), secret: `prk_${keyId}_${secret}` };
	}

	/** The key of a credential, as far as it is known without asking anybody. Throws `invalid_credentials`. */
	peek(credential: string): ShownKey | undefined {
		const { keyId, secret } = parseKey(credential);
		const key = this.#cache.peek(keyId);
		return key === undefined ? undefined : this.#check(key, secret);
	}

	/** The key of a credential. Rejects with `invalid_credentials`. */
	async verify(credential: string): Promise<ShownKey> {
		const { keyId, secret } = parseKey(credential);
		return this.#check(await this.#cache.get(keyId), secret);
	}

	/** A key by its id; null when there is none. */
	async get(keyId: string): Promise<ApiKey | null> {
		const key = await this.#cache.get(keyId);
		return key === null ? null : this.#keyOf(key);
	}

	peekById(keyId: string): ApiKey | null | undefined {
		const key = this.#cache.peek(keyId);
		return key === undefined || key === null ? key : this.#keyOf(key);
	}

	/** The keys of an account, oldest first. */
	async list(accountId: string): Promise<readonly (ApiKey & { readonly lastUsedAtMs: number | null })[]> {
		const { records } = this.#options;
		const keys = await Promise.all(
			(await this.#keyIdsOf(accountId)).map(async (keyId) => {
				const [record, use] = await Promise.all([records.get(API_KEY, keyId), records.get(KEY_USE, keyId)]);
				if (record === undefined) return [];
				const usedAtMs = use?.value['atMs'];
				return [
					{ ...this.#keyOf(cachedOf(keyId, documentOf(record))), lastUsedAtMs: typeof usedAtMs === 'number' ? usedAtMs : null },
				];
			}),
		);
		return keys.flat().sort((a, b) => a.createdAtMs - b.createdAtMs);
	}

	/** Changes name, scopes or expiry of an account's key; null when it has no such key. */
	change(accountId: string, keyId: string, change: Partial<ApiKeyFields>): Promise<ApiKey | null> {
		return this.#update(accountId, keyId, (document) => ({ ...document, ...change }));
	}

	/** Gives an account's key a new secret; the one before stays good for `overlapS`. Null when it has no such key. */
	async rotate(accountId: string, keyId: string, overlapS: number): Promise<NewApiKey | null> {
		const secret = newSecret();
		const nowMs = this.#options.clock.nowMs();
		const key = await this.#update(accountId, keyId, (document) => {
			const [newest] = document.secrets;
			const [times] = timesOf(document.secrets, document.createdAtMs);
			const before =
				newest === undefined || overlapS === 0 ? [] : [{ ...newest, ...times, expiresAtMs: nowMs + overlapS * 1000 }];
			const made = { hash: hashOf(secret), cv: (times?.cv ?? 0) + 1, sinceMs: nowMs, expiresAtMs: null };
			return { ...document, secrets: [made, ...before] };
		});
		return key === null ? null : { key, secret: `prk_${keyId}_${secret}` };
	}

	/** Deletes an account's key. False when it has no such key. */
	async delete(accountId: string, keyId: string): Promise<boolean> {
		const { records } = this.#options;
		const record = await records.get(API_KEY, keyId);
		if (record === undefined || documentOf(record).accountId !== accountId) return false;
		const outcome = await records.write([
			{ op: 'delete', kind: API_KEY, id: keyId, expected: 'present' },
			{ op: 'delete', kind: ACCOUNT_KEY, id: `${accountId}/${keyId}`, expected: 'any' },
			{ op: 'delete', kind: KEY_USE, id: keyId, expected: 'any' },
		]);
		return outcome.status === 'ok';
	}

	async deleteAll(accountId: string): Promise<void> {
		for (const keyId of await this.#keyIdsOf(accountId)) await this.delete(accountId, keyId);
	}

	/** Notes that a key was used, now and then. */
	used({ keyId }: ApiKey): void {
		const { clock, records, onUseNotNoted } = this.#options;
		const nowMs = clock.nowMs();
		const notedMs = this.#noted.get(keyId);
		if (notedMs !== undefined && Math.abs(nowMs - notedMs) < USE_INTERVAL_MS) return;
		if (this.#noted.size >= USES_HELD_MAX) this.#noted.clear();
		this.#noted.set(keyId, nowMs);
		records
			.write([
				{ op: 'check', kind: API_KEY, id: keyId, expected: 'present' },
				{ op: 'put', kind: KEY_USE, id: keyId, value: { atMs: nowMs }, expected: 'any', expiresAtMs: nowMs + USE_KEPT_MS },
			])
			.catch(onUseNotNoted);
	}

	close(): void {
		this.#cache.close();
	}

	/** The same work for a key that is not there as for one whose secret is wrong. */
	#check(key: CachedKey | null, secret: string): ShownKey {
		const shown = key?.fields.secrets[placeOf(secret, key?.hashes)];
		if (key === null) throw invalidToken('there is no such key, or it has expired');
		if (shown === undefined || !isLive(shown, this.#options.clock.nowMs())) {
			throw invalidToken('the secret of the key is wrong, or was replaced');
		}
		return { ...this.#keyOf(key), secretCv: shown.cv };
	}

	#keyOf({ fields }: CachedKey): ApiKey {
		const nowMs = this.#options.clock.nowMs();
		return { ...fields, liveSecrets: fields.secrets.filter((secret) => isLive(secret, nowMs)).length };
	}

	async #keyIdsOf(accountId: string): Promise<string[]> {
		const prefix = `${accountId}/`;
		const page = await this.#options.records.list(ACCOUNT_KEY, { prefix, after: null, limit: 2 * API_KEYS_MAX });
		return page.map(({ id }) => id.slice(prefix.length));
	}

	async #update(accountId: string, keyId: string, change: (document: KeyDocument) => KeyDocument): Promise<ApiKey | null> {
		const { records } = this.#options;
		for (let attempt = 0; attempt < ATTEMPTS_MAX; attempt++) {
			const record = await records.get(API_KEY, keyId);
			if (record === undefined || documentOf(record).accountId !== accountId) return null;
			const document = change(documentOf(record));
			const { expiresAtMs } = document;
			const outcome = await records.write([
				{ op: 'put', kind: API_KEY, id: keyId, value: { ...document }, expected: record.version, expiresAtMs },
				{ op: 'put', kind: ACCOUNT_KEY, id: `${accountId}/${keyId}`, value: {}, expected: 'any', expiresAtMs },
			]);
			if (outcome.status === 'ok') return this.#keyOf(cachedOf(keyId, document));
		}
		throw new RelayError('overloaded', 'the key is being changed by too many at once');
	}
}

function cachedOf(keyId: string, document: KeyDocument): CachedKey {
	const { accountId, name, scopes, requestedScopes, createdAtMs, expiresAtMs } = document;
	return {
		fields: {
			keyId,
			accountId,
			name,
			scopes,
			requestedScopes: requestedScopes ?? shownScopes(accountId, scopes),
			createdAtMs,
			expiresAtMs,
			secrets: timesOf(document.secrets, document.createdAtMs),
		},
		hashes: document.secrets.map(({ hash }) => hash),
	};
}

function documentOf({ value }: StoredRecord): KeyDocument {
	return value as unknown as KeyDocument;
}
