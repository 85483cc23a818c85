/**
 * Connections that outlive the moment in which their credential was checked. What they rest on is watched: a token that expires
 * or is revoked, an account that is disabled, a grant that is taken back ends the connection, or the one subscription, within
 * seconds.
 */

import { RelayError } from '@pulsar-relay/protocol/errors';
import type { Clock } from '../ports/clock.ts';
import type { Records } from '../ports/records.ts';
import { DENIED_TOKEN } from './access-tokens.ts';
import { ACCOUNT } from './accounts.ts';
import { API_KEY } from './api-keys.ts';
import type { Authenticator } from './authenticate.ts';
import type { KnownPrincipal } from './principal.ts';
import { TOPIC_ACCESS, type TopicAccess } from './topic-access.ts';

/** How often expiries are looked at. */
const EXPIRY_INTERVAL_MS = 1000;
/** How often everything is checked again even if nothing was announced, in case an announcement was lost (I10). */
const RECHECK_INTERVAL_MS = 30_000;
/** When the records cannot be read, how long until a check is tried again. */
const RETRY_MS = 1000;

/** A connection, as far as its rights go. */
export interface LiveConnection {
	readonly principal: KnownPrincipal;
	/** The topics it follows, as they are in the store. */
	readonly topics: Iterable<string>;
	/** Its account, key or token is not what it was: ends with `credentials_expired` or `access_revoked`. */
	end(error: RelayError): void;
	/** It may no longer follow this topic. */
	endTopic(topic: string): void;
	/** The principal with the rights it has now. */
	renewed(principal: KnownPrincipal): void;
}

export interface LiveConnectionsOptions {
	readonly records: Records;
	readonly clock: Clock;
	readonly authenticator: Authenticator;
	readonly topics: TopicAccess;
}

export class LiveConnections {
	readonly #options: LiveConnectionsOptions;
	/** Each connection with the records that it rests on. */
	readonly #connections = new Map<LiveConnection, readonly string[]>();
	readonly #byRecord = new Map<string, Set<LiveConnection>>();
	/** Those whose check is to be tried again. Once each, however often they come up meanwhile: an outage may last for hours (I8). */
	readonly #retrying = new Set<LiveConnection>();
	readonly #stopListening: () => void;
	#cancelTimer: () => void = () => {};
	#recheckDueMs: number;

	constructor(options: LiveConnectionsOptions) {
		this.#options = options;
		this.#stopListening = options.records.listen({
			changed: (kind, id) => this.#changed(kind, id),
			missed: () => this.#recheckAll(),
		});
		this.#recheckDueMs = options.clock.monotonicMs() + RECHECK_INTERVAL_MS;
		this.#scheduleLook();
	}

	/** Watches over a connection, and checks it once: something may have changed since its credential was looked at. */
	add(connection: LiveConnection): void {
		this.#index(connection);
		this.#recheck(connection);
	}

	/** The connection has another principal, as after a refresh of its token. */
	replaced(connection: LiveConnection): void {
		// It may have closed while its new credential was looked at; nothing would ever take it out again.
		if (!this.#connections.has(connection)) return;
		this.remove(connection);
		this.add(connection);
	}

	remove(connection: LiveConnection): void {
		for (const key of this.#connections.get(connection) ?? []) {
			const set = this.#byRecord.get(key);
			set?.delete(connection);
			if (set?.size === 0) this.#byRecord.delete(key);
		}
		this.#connections.delete(connection);
	}

	/** Stops watching. */
	close(): void {
		this.#stopListening();
		this.#cancelTimer();
		this.#connections.clear();
		this.#byRecord.clear();
	}

	#index(connection: LiveConnection): void {
		const keys = recordsOf(connection.principal);
		this.#connections.set(connection, keys);
		for (const key of keys) {
			const set = this.#byRecord.get(key);
			if (set === undefined) this.#byRecord.set(key, new Set([connection]));
			else set.add(connection);
		}
	}

	#changed(kind: string, id: string): void {
		for (const connection of this.#byRecord.get(`${kind}/${id}`) ?? []) this.#recheck(connection);
		if (kind !== TOPIC_ACCESS) return;
		for (const connection of this.#connections.keys()) {
			// Whoever owns the topic needs no grant.
			if (id.startsWith(connection.principal.accountId)) continue;
			for (const topic of connection.topics) if (topic === id) this.#recheck(connection);
		}
	}

	#recheckAll(): void {
		this.#recheckDueMs = this.#options.clock.monotonicMs() + RECHECK_INTERVAL_MS;
		for (const connection of this.#connections.keys()) this.#recheck(connection);
	}

	#scheduleLook(): void {
		this.#cancelTimer = this.#options.clock.after(EXPIRY_INTERVAL_MS, () => {
			this.#scheduleLook();
			const nowMs = this.#options.clock.nowMs();
			for (const connection of this.#connections.keys()) {
				const { expiresAtMs } = connection.principal;
				if (expiresAtMs !== null && expiresAtMs <= nowMs) this.#end(connection, expired());
			}
			if (this.#options.clock.monotonicMs() >= this.#recheckDueMs) this.#recheckAll();
		});
	}

	/** Checks a connection again: it follows more than it did when something may have changed. */
	recheck(connection: LiveConnection): void {
		if (this.#connections.has(connection)) this.#recheck(connection);
	}

	#recheck(connection: LiveConnection): void {
		this.#check(connection).catch(() => {
			// The records cannot be read. Who is connected stays so until they can be.
			if (this.#retrying.has(connection)) return;
			this.#retrying.add(connection);
			this.#options.clock.after(RETRY_MS, () => {
				this.#retrying.delete(connection);
				if (this.#connections.has(connection)) this.#recheck(connection);
			});
		});
	}

	async #check(connection: LiveConnection): Promise<void> {
		const { authenticator, topics } = this.#options;
		const before = connection.principal;
		let principal: KnownPrincipal;
		try {
			principal = await authenticator.renew(before);
		} catch (thrown) {
			const { code } = RelayError.from(thrown);
			if (code === 'invalid_credentials') this.#end(connection, expired());
			else if (code === 'forbidden') this.#end(connection, revoked());
			else throw thrown;
			return;
		}
		// It is gone, or has another principal, which is checked by itself.
		if (!this.#connections.has(connection) || connection.principal !== before) return;
		connection.renewed(principal);
		const followed = [...connection.topics];
		if (followed.length > 0 && !principal.permissions.includes('read')) {
			this.#end(connection, revoked());
			return;
		}
		for (const topic of followed) {
			if (await topics.stillAllowed(principal, 'subscribe', topic)) continue;
			if (this.#connections.has(connection)) connection.endTopic(topic);
		}
	}

	#end(connection: LiveConnection, error: RelayError): void {
		if (!this.#connections.has(connection)) return;
		this.remove(connection);
		connection.end(error);
	}
}

function recordsOf(principal: KnownPrincipal): string[] {
	const account = `${ACCOUNT}/${principal.accountId}`;
	switch (principal.kind) {
		case 'account':
			return principal.jti === null ? [account] : [account, `${DENIED_TOKEN}/${principal.jti}`];
		case 'apiKey':
			return [account, `${API_KEY}/${principal.keyId}`];
		case 'scoped': {
			const { jti, keyId, mintedIn } = principal;
			const keys = [account, `${DENIED_TOKEN}/${jti}`];
			if (keyId !== null) keys.push(`${API_KEY}/${keyId}`);
			if (mintedIn !== null) keys.push(`${DENIED_TOKEN}/${mintedIn.sessionId}`);
			return keys;
		}
	}
}

function expired(): RelayError {
	return new RelayError('credentials_expired', 'the token or key has expired or was revoked; reconnect with a new one', {
		detail: 'Invalid or expired token',
	});
}

function revoked(): RelayError {
	return new RelayError('access_revoked', 'the account was disabled or may no longer read');
}
