/**
 * Connections that outlive the moment in which their credential was checked. What they rest on is watched: a token that expires
 * or is revoked, an account that is disabled, a grant that is taken back ends the connection, or the one subscription, within
 * seconds.
 */

import { RelayError } from '@pulsar-relay/protocol/errors';
import type { Clock } from '../ports/clock.ts';
import type { Records } from '../ports/records.ts';
import { ACCOUNT } from './accounts.ts';
import { API_KEY } from './api-keys.ts';
import { type Authenticator, restsOn } from './authenticate.ts';
import type { KnownPrincipal } from './principal.ts';
import { REVOCATION } from './revocations.ts';
import { TOPIC_ACCESS, type TopicAccess } from './topic-access.ts';

/**
 * Every connection is looked at each second even if nothing was announced (I10). What it rests on may be four seconds old in memory
 * (record-cache.ts): together five, also when an announcement was lost. A part of them at a time, so that no turn of the loop is long.
 */
const LOOK_INTERVAL_MS = 1000;
const PARTS = 20;

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
	/** The connections by when in a second they are looked at. */
	readonly #parts = Array.from({ length: PARTS }, () => new Set<LiveConnection>());
	#nextPart = 0;
	readonly #byRecord = new Map<string, Set<LiveConnection>>();
	/** Those for whose check something is being read: one regular check of each at a time, as an outage may last for hours (I8). */
	readonly #reading = new Set<LiveConnection>();
	readonly #stopListening: () => void;
	#cancelTimer: () => void = () => {};

	constructor(options: LiveConnectionsOptions) {
		this.#options = options;
		this.#stopListening = options.records.listen({
			changed: (kind, id) => this.#changed(kind, id),
			missed: () => this.#checkAll(),
		});
		this.#scheduleLook();
	}

	/** Watches over a connection, and checks it once: something may have changed since its credential was looked at. */
	add(connection: LiveConnection): void {
		this.#index(connection);
		// Not now: the caller is not ready yet to be called back.
		queueMicrotask(() => this.recheck(connection));
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
		for (const part of this.#parts) if (part.delete(connection)) break;
	}

	/** Stops watching. */
	close(): void {
		this.#stopListening();
		this.#cancelTimer();
		this.#connections.clear();
		this.#byRecord.clear();
		for (const part of this.#parts) part.clear();
	}

	#index(connection: LiveConnection): void {
		const keys = recordsOf(connection.principal);
		this.#connections.set(connection, keys);
		this.#parts.reduce((a, b) => (b.size < a.size ? b : a)).add(connection);
		for (const key of keys) {
			const set = this.#byRecord.get(key);
			if (set === undefined) this.#byRecord.set(key, new Set([connection]));
			else set.add(connection);
		}
	}

	#changed(kind: string, id: string): void {
		for (const connection of this.#byRecord.get(`${kind}/${id}`) ?? []) this.#check(connection);
		if (kind !== TOPIC_ACCESS) return;
		for (const connection of this.#connections.keys()) {
			// The owner of a topic needs no grant.
			if (id.startsWith(connection.principal.accountId)) continue;
			for (const topic of connection.topics) if (topic === id) this.#check(connection);
		}
	}

	#checkAll(): void {
		for (const connection of this.#connections.keys()) this.#check(connection);
	}

	#scheduleLook(): void {
		this.#cancelTimer = this.#options.clock.after(LOOK_INTERVAL_MS / PARTS, () => {
			this.#scheduleLook();
			const nowMs = this.#options.clock.nowMs();
			this.#nextPart = (this.#nextPart + 1) % PARTS;
			for (const connection of this.#parts[this.#nextPart] ?? []) {
				const { expiresAtMs } = connection.principal;
				if (expiresAtMs !== null && expiresAtMs <= nowMs) this.#end(connection, expired());
				else if (!this.#reading.has(connection)) this.#check(connection);
			}
		});
	}

	/** Checks a connection again: it follows more than it did when something may have changed. */
	recheck(connection: LiveConnection): void {
		if (this.#connections.has(connection)) this.#check(connection);
	}

	/** At once where everything is in memory. While the records cannot be read, who is connected stays so; the next look is due. */
	#check(connection: LiveConnection): void {
		const before = connection.principal;
		let principal: KnownPrincipal | Promise<KnownPrincipal>;
		try {
			principal = this.#options.authenticator.renew(before.credential);
		} catch (thrown) {
			this.#refused(connection, thrown);
			return;
		}
		if (!(principal instanceof Promise)) {
			this.#renewed(connection, before, principal);
			return;
		}
		this.#reading.add(connection);
		principal
			.then(
				(renewed) => this.#renewed(connection, before, renewed),
				(thrown: unknown) => {
					if (connection.principal.credential === before.credential) this.#refused(connection, thrown);
				},
			)
			.finally(() => this.#reading.delete(connection));
	}

	#refused(connection: LiveConnection, thrown: unknown): void {
		const { code } = RelayError.from(thrown);
		if (code === 'invalid_credentials') this.#end(connection, expired());
		else if (code === 'forbidden') this.#end(connection, revoked());
	}

	#renewed(connection: LiveConnection, before: KnownPrincipal, principal: KnownPrincipal): void {
		// It is gone, or has another credential, which is checked by itself.
		if (!this.#connections.has(connection) || connection.principal.credential !== before.credential) return;
		if (!hasSameRights(connection.principal, principal)) connection.renewed(principal);
		if (!principal.permissions.includes('read') && !isEmpty(connection.topics)) {
			this.#end(connection, revoked());
			return;
		}
		for (const topic of connection.topics) {
			const allowed = this.#options.topics.stillAllowed(principal, 'subscribe', topic);
			if (allowed === false) connection.endTopic(topic);
			else if (allowed !== true) this.#checkTopic(connection, topic, allowed);
		}
	}

	#checkTopic(connection: LiveConnection, topic: string, allowed: Promise<boolean>): void {
		allowed.then(
			(isAllowed) => {
				if (!isAllowed && this.#connections.has(connection)) connection.endTopic(topic);
			},
			() => {
				// The records cannot be read. The next look is due in a second.
			},
		);
	}

	#end(connection: LiveConnection, error: RelayError): void {
		if (!this.#connections.has(connection)) return;
		this.remove(connection);
		connection.end(error);
	}
}

function recordsOf({ accountId, credential }: KnownPrincipal): string[] {
	const keys = [`${ACCOUNT}/${accountId}`];
	if (credential.kind === 'key') return [...keys, `${API_KEY}/${credential.keyId}`];
	const { jti, sessionId, keyId } = restsOn(credential);
	if (jti !== null) keys.push(`${REVOCATION}/${jti}`);
	if (sessionId !== null) keys.push(`${REVOCATION}/${sessionId}`);
	if (keyId !== null) keys.push(`${API_KEY}/${keyId}`);
	return keys;
}

/** By what does not change while the records stay the same in memory. */
function hasSameRights(a: KnownPrincipal, b: KnownPrincipal): boolean {
	const isSame = a.permissions === b.permissions && a.expiresAtMs === b.expiresAtMs;
	return isSame && (a.kind === 'account' || b.kind === 'account' || a.scopes === b.scopes);
}

function isEmpty(list: Iterable<unknown>): boolean {
	for (const _ of list) return false;
	return true;
}

function expired(): RelayError {
	return new RelayError('credentials_expired', 'the token or key has expired or was revoked; reconnect with a new one', {
		detail: 'Invalid or expired token',
	});
}

function revoked(): RelayError {
	return new RelayError('access_revoked', 'the account was disabled or may no longer read');
}
