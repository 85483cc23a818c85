/**
 * Whose topics are whose, and who else may use them. A topic belongs to an account: in the store its name has the owner's id in
 * front, `<owner>/<name>`. A bare name is the caller's own topic; `owner/name` is another's, which takes a grant.
 */

import { RelayError } from '@pulsar-relay/protocol/errors';
import { topicNameProblem, topicReferenceProblem } from '@pulsar-relay/protocol/topic-name';
import type { Clock } from '../ports/clock.ts';
import type { Records, StoredRecord } from '../ports/records.ts';
import type { Accounts } from './accounts.ts';
import type { Action, KnownPrincipal, Permission, Principal } from './principal.ts';
import { RecordCache } from './record-cache.ts';
import { scopesAllow } from './scopes.ts';
import { nobody } from './usernames.ts';

export const TOPIC_ACCESS = 'topic-access';

/**
 * Stands as the owner of topics without one, which were made while the relay asked nobody for credentials. In the store such a topic
 * has its bare name; administrators may look at it, read it and manage it as `00000000-0000-0000-0000-000000000000/<name>`.
 */
export const UNOWNED_ID = '00000000-0000-0000-0000-000000000000';

/** Accounts that one topic may be granted to. */
export const GRANTS_MAX = 1000;
const ATTEMPTS_MAX = 20;

/** What a grant gives: to subscribe and read, or to publish. */
export type GrantedPermission = 'read' | 'write';

/** Who but its owner may use a topic. */
export interface TopicGrants {
	/** Everybody who has an account may read. */
	readonly isPublic: boolean;
	readonly byAccount: Readonly<Record<string, readonly GrantedPermission[]>>;
}

const NO_GRANTS: TopicGrants = { isPublic: false, byAccount: {} };

/** A topic as a request means it. */
export interface TopicReference {
	/** As it is in the store. */
	readonly topic: string;
	/** As the request spelled it, which is how the answers spell it. */
	readonly shown: string;
}

/** What one may do with a topic: the actions, `look` at what it is, and `manage` it (its owner only). */
export type TopicAction = Action | 'look' | 'manage';

export type Decision =
	| { readonly status: 'allowed' }
	/** `permission`: the account lacks it. `scope`: the key or token does. `grant`: the topic is another's. */
	| { readonly status: 'denied'; readonly reason: 'permission' | 'scope' | 'grant' };

const ALLOWED: Decision = { status: 'allowed' };

/** What the account must be permitted. Everybody who has an account may look at what is theirs, and change it. */
export const PERMISSION_FOR = {
	publish: 'write',
	subscribe: 'read',
	look: null,
	manage: null,
} as const satisfies Readonly<Record<TopicAction, Permission | null>>;

/** Whether a principal may do something with a topic, as it is in the store; the one place where that is decided. */
export function authorize(principal: Principal, action: TopicAction, topic: string, grants: TopicGrants | null): Decision {
	if (principal.kind === 'open') return ALLOWED;
	const needed = PERMISSION_FOR[action];
	if (needed !== null && !principal.permissions.includes(needed)) return { status: 'denied', reason: 'permission' };
	if (principal.kind !== 'account' && !scopesGive(principal.scopes, action, topic)) return { status: 'denied', reason: 'scope' };
	return isOwn(principal, action, topic) || isGranted(principal, action, grants ?? NO_GRANTS)
		? ALLOWED
		: { status: 'denied', reason: 'grant' };
}

function scopesGive(scopes: Parameters<typeof scopesAllow>[0], action: TopicAction, topic: string): boolean {
	if (action === 'manage') return false;
	const name = topic.includes('/') ? topic : `${UNOWNED_ID}/${topic}`;
	if (action !== 'look') return scopesAllow(scopes, action, name);
	return scopesAllow(scopes, 'publish', name) || scopesAllow(scopes, 'subscribe', name);
}

function isGranted({ accountId }: KnownPrincipal, action: TopicAction, { isPublic, byAccount }: TopicGrants): boolean {
	const granted = Object.hasOwn(byAccount, accountId) ? (byAccount[accountId] ?? []) : [];
	switch (action) {
		case 'publish':
			return granted.includes('write');
		case 'subscribe':
			return isPublic || granted.includes('read');
		case 'look':
			return isPublic || granted.length > 0;
		case 'manage':
			return false;
	}
}

function isOwn({ accountId, permissions }: KnownPrincipal, action: TopicAction, topic: string): boolean {
	if (topic.startsWith(accountId) && topic[accountId.length] === '/') return true;
	return action !== 'publish' && permissions.includes('admin') && !topic.includes('/');
}

/** Whose topics are whose, as the transports ask it. */
export interface TopicRights {
	/** Whether topics may be named with their owner. */
	readonly owners: boolean;
	/** Why a text names no topic, as one clause, or undefined. */
	problemOf(shown: string): string | undefined;
	/**
	 * The topic that a name means, if the principal may do that with it; at once for its own, which is nearly always. Throws or
	 * rejects with `forbidden`, or with `not_found` for what is looked at without a right to know of it.
	 *
	 * @param shown a topic name, or `owner/name`
	 */
	allow(principal: Principal, action: TopicAction, shown: string): TopicReference | Promise<TopicReference>;
	/** As {@link allow}, for each of several names. */
	allowAll(principal: Principal, action: TopicAction, names: Iterable<string>): Promise<readonly TopicReference[]>;
}

/** The rights where nobody is asked for credentials: every topic is everybody's. */
export const OPEN_RIGHTS: TopicRights = {
	owners: false,
	problemOf: topicNameProblem,
	allow: (_principal, _action, shown) => ({ topic: shown, shown }),
	allowAll: async (_principal, _action, names) => Array.from(names, (shown) => ({ topic: shown, shown })),
};

export interface TopicAccessOptions {
	readonly records: Records;
	readonly clock: Clock;
	readonly accounts: Accounts;
}

export class TopicAccess implements TopicRights {
	readonly owners = true;
	readonly problemOf = topicReferenceProblem;
	readonly #options: TopicAccessOptions;
	readonly #grants: RecordCache<TopicGrants>;

	constructor(options: TopicAccessOptions) {
		this.#options = options;
		this.#grants = new RecordCache({ ...options, kind: TOPIC_ACCESS, decode: grantsOf });
	}

	allow(principal: Principal, action: TopicAction, shown: string): TopicReference | Promise<TopicReference> {
		if (principal.kind === 'open') return { topic: shown, shown };
		if (shown.includes('/')) return this.#allowOf(principal, action, shown);
		const topic = `${principal.accountId}/${shown}`;
		return refuse(authorize(principal, action, topic, null), action, shown) ?? { topic, shown };
	}

	allowAll(principal: Principal, action: TopicAction, names: Iterable<string>): Promise<readonly TopicReference[]> {
		return Promise.all(Array.from(names, async (name) => this.allow(principal, action, name)));
	}

	/** Whether a principal may still do something with a topic, as it is in the store; at once where everything is in memory. */
	stillAllowed(principal: KnownPrincipal, action: TopicAction, topic: string): boolean | Promise<boolean> {
		const grants = isOwn(principal, action, topic) ? null : this.#grants.peek(topic);
		const isAllowed = (known: TopicGrants | null) => authorize(principal, action, topic, known).status === 'allowed';
		return grants === undefined ? this.#grants.get(topic).then(isAllowed) : isAllowed(grants);
	}

	/** The pattern of a scope as it is in the store. */
	async patternOf(accountId: string, pattern: string): Promise<string> {
		const slash = pattern.indexOf('/');
		if (slash < 0) return `${accountId}/${pattern}`;
		return `${await this.#ownerOf(pattern.slice(0, slash))}${pattern.slice(slash)}`;
	}

	/** Who may use a topic. */
	async grants(topic: string): Promise<TopicGrants> {
		const record = await this.#options.records.get(TOPIC_ACCESS, topic);
		return record === undefined ? NO_GRANTS : grantsOf(record);
	}

	/** Lets an account use a topic. Rejects with `forbidden` when it has been granted to as many as may be. */
	grant(topic: string, accountId: string, permission: GrantedPermission): Promise<void> {
		return this.#update(topic, ({ isPublic, byAccount }) => {
			const granted = byAccount[accountId] ?? [];
			if (granted.includes(permission)) return null;
			if (granted.length === 0 && Object.keys(byAccount).length >= GRANTS_MAX) {
				throw new RelayError('forbidden', `a topic is granted to at most ${GRANTS_MAX} accounts`);
			}
			return { isPublic, byAccount: { ...byAccount, [accountId]: [...granted, permission].sort() } };
		});
	}

	/** Takes a grant back; null takes all of an account's. False when there was none. */
	async revoke(topic: string, accountId: string, permission: GrantedPermission | null): Promise<boolean> {
		let revoked = false;
		await this.#update(topic, ({ isPublic, byAccount }) => {
			const granted = byAccount[accountId] ?? [];
			const left = permission === null ? [] : granted.filter((one) => one !== permission);
			revoked = left.length < granted.length;
			if (!revoked) return null;
			const { [accountId]: _, ...others } = byAccount;
			return { isPublic, byAccount: left.length === 0 ? others : { ...others, [accountId]: left } };
		});
		return revoked;
	}

	/** Makes a topic readable for everybody who has an account, or no longer. */
	setPublic(topic: string, isPublic: boolean): Promise<void> {
		return this.#update(topic, (grants) => (grants.isPublic === isPublic ? null : { ...grants, isPublic }));
	}

	/** The topic is gone, and so are its grants: one that is made later under its name starts without. */
	async forget(topic: string): Promise<void> {
		await this.#options.records.write([{ op: 'delete', kind: TOPIC_ACCESS, id: topic, expected: 'any' }]);
	}

	close(): void {
		this.#grants.close();
	}

	/** The same steps whether the owner exists or not: who does must not show in the answer, nor in its time. */
	async #allowOf(principal: KnownPrincipal, action: TopicAction, shown: string): Promise<TopicReference> {
		const slash = shown.indexOf('/');
		const owner = await this.#ownerOf(shown.slice(0, slash));
		const topic = owner === UNOWNED_ID ? shown.slice(slash + 1) : `${owner}${shown.slice(slash)}`;
		const grants = isOwn(principal, action, topic) ? null : await this.#grants.get(topic);
		return refuse(authorize(principal, action, topic, grants), action, shown) ?? { topic, shown };
	}

	async #ownerOf(owner: string): Promise<string> {
		return (await this.#options.accounts.resolve(owner)) ?? nobody(owner);
	}

	/** Changes a topic's grants; the change may say that there is nothing to change. */
	async #update(topic: string, change: (grants: TopicGrants) => TopicGrants | null): Promise<void> {
		const { records } = this.#options;
		for (let attempt = 0; attempt < ATTEMPTS_MAX; attempt++) {
			const record = await records.get(TOPIC_ACCESS, topic);
			const changed = change(record === undefined ? NO_GRANTS : grantsOf(record));
			if (changed === null) return;
			const expected = record?.version ?? 'absent';
			const outcome = await records.write([{ op: 'put', kind: TOPIC_ACCESS, id: topic, value: { ...changed }, expected }]);
			if (outcome.status === 'ok') return;
		}
		throw new RelayError('overloaded', 'the grants are being changed by too many at once');
	}
}

/** Throws what a denial is answered with; undefined when it is none. */
function refuse(decision: Decision, action: TopicAction, shown: string): undefined {
	if (decision.status === 'allowed') return undefined;
	throw denial(decision.reason, action, shown);
}

/** The error of a denied action on a topic. */
export function denial(
	reason: Extract<Decision, { status: 'denied' }>['reason'],
	action: TopicAction,
	shown: string,
): RelayError {
	const permission = PERMISSION_FOR[action];
	if (reason === 'permission' && permission !== null) return permissionRequired(permission);
	if (reason === 'scope') {
		const what = action === 'look' ? 'publish or subscribe' : action;
		return new RelayError('forbidden', `the key or token lacks the scope '${what}' for topic '${shown}'`, {
			detail: `Scope '${what}' for topic '${shown}' required`,
		});
	}
	if (action === 'look' || action === 'manage') {
		return new RelayError('not_found', 'topic not found', { detail: `Topic '${shown}' not found` });
	}
	const needed = action === 'publish' ? 'write' : 'read';
	return new RelayError('forbidden', `access denied to topic '${shown}' (requires ${needed} permission)`, {
		detail: `Access denied to topic '${shown}' (requires ${needed} permission)`,
	});
}

/** The error for a permission that the account lacks. */
export function permissionRequired(permission: Permission): RelayError {
	return new RelayError('forbidden', `permission '${permission}' required`, { detail: `Permission '${permission}' required` });
}

function grantsOf({ value }: StoredRecord): TopicGrants {
	return value as unknown as TopicGrants;
}
