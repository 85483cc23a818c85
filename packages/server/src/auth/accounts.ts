/**
 * Accounts. The stored account is what counts: tokens only name one. Its name, and how that looks, are claimed by records of their own in
 * the same write, so that two cannot have one name and neither can be left behind without the other.
 */

import { randomUUID } from 'node:crypto';
import { RelayError } from '@pulsar-relay/protocol/errors';
import type { Clock } from '../ports/clock.ts';
import type { RecordOp, Records, StoredRecord } from '../ports/records.ts';
import { claimOps, freeClaimOps, holderOf, NAME, releaseOps } from './account-names.ts';
import { raised } from './credential-version.ts';
import type { Passwords } from './passwords.ts';
import type { Permission } from './principal.ts';
import { RecordCache } from './record-cache.ts';
import { isAccountId, looksLikeId, usernameProblem } from './usernames.ts';

export const ACCOUNT = 'account';

/** Pages of accounts that are looked through at once. */
const PAGE = 1000;
/** Attempts at a change that others keep changing under. */
const ATTEMPTS_MAX = 20;

export interface Account {
	readonly accountId: string;
	readonly username: string;
	readonly email: string | null;
	/** A PHC text; null when nobody can sign in with a password. */
	readonly passwordHash: string | null;
	readonly isActive: boolean;
	readonly permissions: readonly Permission[];
	readonly createdAtMs: number;
	/** Its credential version. It rises with a new password and when the account is disabled. */
	readonly cv: number;
	/** Unix time in ms of the last rise. */
	readonly raisedAtMs: number | null;
	/** Of the record: differs with every change. */
	readonly version: number;
}

type AccountDocument = Omit<Account, 'accountId' | 'version'>;

/** An account that another server has made. */
export type AdoptedAccount = Omit<Account, 'version' | 'cv' | 'raisedAtMs'>;

export interface NewAccount {
	readonly username: string;
	readonly password: string | null;
	readonly email: string | null;
	readonly permissions: readonly Permission[];
}

/** An absent field stays as it is. */
export interface AccountChange {
	readonly email?: string | null;
	readonly password?: string;
	readonly permissions?: readonly Permission[];
	readonly isActive?: boolean;
}

/** `adopted`, or what was there already: the mark, or an account of the same name, id or identity. */
export type AdoptOutcome = 'adopted' | 'marked' | 'name_taken' | 'id_taken' | 'identity_taken';

export interface AccountsOptions {
	readonly records: Records;
	readonly clock: Clock;
	readonly passwords: Passwords;
}

export class Accounts {
	readonly #records: Records;
	readonly #clock: Clock;
	readonly #passwords: Passwords;
	readonly #byId: RecordCache<Account>;
	readonly #idByName: RecordCache<string>;

	constructor({ records, clock, passwords }: AccountsOptions) {
		this.#records = records;
		this.#clock = clock;
		this.#passwords = passwords;
		this.#byId = new RecordCache({ records, clock, kind: ACCOUNT, decode: accountOf });
		this.#idByName = new RecordCache({ records, clock, kind: NAME, decode: ({ value }) => String(value['accountId']) });
	}

	/** The account as far as it is in memory; undefined when it must be read. */
	peek(accountId: string): Account | null | undefined {
		return this.#byId.peek(accountId);
	}

	/** The account, at most some seconds old however many nodes there are; null when there is none. */
	get(accountId: string): Promise<Account | null> {
		return this.#byId.get(accountId);
	}

	/** The account as it is stored at this moment. */
	async read(accountId: string): Promise<Account | null> {
		const record = await this.#records.get(ACCOUNT, accountId);
		return record === undefined ? null : accountOf(record);
	}

	/**
	 * The account id that an owner stands for: an id itself, else a name; null when no account has it. What looks like an id is never a name here,
	 * also if an account from before is called that.
	 */
	async resolve(owner: string): Promise<string | null> {
		if (isAccountId(owner)) return owner;
		return looksLikeId(owner) ? null : this.idOf(owner);
	}

	/** The id of the account of a name; names do not change hands while an account exists. */
	async idOf(username: string): Promise<string | null> {
		return this.#idByName.get(username);
	}

	async findByName(username: string): Promise<Account | null> {
		const accountId = await this.idOf(username);
		return accountId === null ? null : this.get(accountId);
	}

	/** The id of the account that has a name, or one that people would take for it; null when a new account may have it. */
	holderOf(username: string): Promise<string | null> {
		return holderOf(this.#records, username);
	}

	/**
	 * Makes an account, and what else is to be written in the same step. Rejects with `account_exists` when there is one of that name, or of a
	 * name that looks like it, and with `invalid_request` for a name that no new account may have.
	 */
	async create(
		{ username, password, email, permissions }: NewAccount,
		also: (accountId: string) => readonly RecordOp[] = () => [],
	): Promise<Account> {
		const problem = usernameProblem(username);
		if (problem !== undefined) throw new RelayError('invalid_request', problem);
		if ((await this.holderOf(username)) !== null) throw accountExists(username);
		const document: AccountDocument = {
			username,
			email,
			passwordHash: password === null ? null : await this.#passwords.hash(password),
			isActive: true,
			permissions: [...permissions],
			createdAtMs: this.#clock.nowMs(),
			cv: 0,
			raisedAtMs: null,
		};
		const accountId = randomUUID();
		const outcome = await this.#records.write([
			...claimOps(username, accountId),
			{ op: 'put', kind: ACCOUNT, id: accountId, value: { ...document }, expected: 'absent' },
			...also(accountId),
		]);
		if (outcome.status === 'conflict') throw accountExists(username);
		return { ...document, accountId, version: outcome.version };
	}

	/** Makes an account just as it is given, and writes the mark and its identities in the same step; or says what is in the way of it. */
	async adopt(account: AdoptedAccount, mark: RecordOp, identities: readonly RecordOp[]): Promise<AdoptOutcome> {
		const { accountId, ...document } = account;
		// A name that looks like another's is kept all the same: its account is not a new one.
		const claims = await freeClaimOps(this.#records, document.username, accountId);
		const outcome = await this.#records.write([
			mark,
			{ op: 'put', kind: NAME, id: document.username, value: { accountId }, expected: 'absent' },
			{ op: 'put', kind: ACCOUNT, id: accountId, value: { ...document, cv: 0, raisedAtMs: null }, expected: 'absent' },
			...identities,
			...claims,
		]);
		if (outcome.status === 'ok') return 'adopted';
		return (['marked', 'name_taken', 'id_taken'] as const)[outcome.at] ?? 'identity_taken';
	}

	/** Accounts in the order of their ids. */
	async list(after: string | null, limit: number): Promise<readonly Account[]> {
		const accounts: Account[] = [];
		for (let last = after; accounts.length < limit; ) {
			const size = Math.min(PAGE, limit - accounts.length);
			const page = await this.#records.list(ACCOUNT, { prefix: '', after: last, limit: size });
			accounts.push(...page.map(accountOf));
			if (page.length < size) break;
			last = page.at(-1)?.id ?? null;
		}
		return accounts;
	}

	async count(): Promise<{ readonly total: number; readonly active: number }> {
		let total = 0;
		let active = 0;
		for (let after: string | null = null; ; ) {
			const page: readonly Account[] = await this.list(after, PAGE);
			total += page.length;
			active += page.filter(({ isActive }) => isActive).length;
			if (page.length < PAGE) return { total, active };
			after = page.at(-1)?.accountId ?? null;
		}
	}

	/** Whether there is an active account that may administer. */
	async hasAdmin(): Promise<boolean> {
		for (let after: string | null = null; ; ) {
			const page: readonly Account[] = await this.list(after, PAGE);
			if (page.some(({ isActive, permissions }) => isActive && permissions.includes('admin'))) return true;
			if (page.length < PAGE) return false;
			after = page.at(-1)?.accountId ?? null;
		}
	}

	/**
	 * Changes an account, and what else is to be written in the same step; null when there is none, or when the rest does not fit. Only what is
	 * given changes, on what is stored at that moment: two changes of different fields at the same time both take effect. A new password, and
	 * disabling, raise the credential version.
	 */
	async change(
		accountId: string,
		{ password, ...fields }: AccountChange,
		also: readonly RecordOp[] = [],
	): Promise<Account | null> {
		const hashed = password === undefined ? {} : { passwordHash: await this.#passwords.hash(password) };
		const change = (document: AccountDocument): AccountDocument => {
			const changed = { ...document, ...fields, ...hashed };
			const disables = document.isActive && !changed.isActive;
			return password === undefined && !disables ? changed : raised(changed, this.#clock.nowMs());
		};
		return this.#update(accountId, change, also);
	}

	/** Hashes a password that was just right anew, at today's costs, unless the account has another one meanwhile. */
	async rehash({ accountId, passwordHash }: Account, password: string): Promise<void> {
		const hashed = await this.#passwords.hash(password);
		await this.#update(accountId, (document) =>
			document.passwordHash === passwordHash ? { ...document, passwordHash: hashed } : document,
		);
	}

	/** Deletes an account with its name. False when there is none. */
	async delete(accountId: string): Promise<boolean> {
		const record = await this.#records.get(ACCOUNT, accountId);
		if (record === undefined) return false;
		const outcome = await this.#records.write([
			{ op: 'delete', kind: ACCOUNT, id: accountId, expected: 'present' },
			...(await releaseOps(this.#records, accountOf(record).username, accountId)),
		]);
		return outcome.status === 'ok';
	}

	close(): void {
		this.#byId.close();
		this.#idByName.close();
	}

	async #update(
		accountId: string,
		change: (document: AccountDocument) => AccountDocument,
		also: readonly RecordOp[] = [],
	): Promise<Account | null> {
		for (let attempt = 0; attempt < ATTEMPTS_MAX; attempt++) {
			const record = await this.#records.get(ACCOUNT, accountId);
			if (record === undefined) return null;
			const { accountId: _id, version: _version, ...before } = accountOf(record);
			const document = change(before);
			const outcome = await this.#records.write([
				{ op: 'put', kind: ACCOUNT, id: accountId, value: { ...document }, expected: record.version },
				...also,
			]);
			if (outcome.status === 'ok') return { ...document, accountId, version: outcome.version };
			if (outcome.at > 0) return null;
		}
		throw new RelayError('overloaded', 'the account is being changed by too many at once');
	}
}

/** Relays up to 0.3.0 wrote no credential version. */
function accountOf({ id, value, version }: StoredRecord): Account {
	const document = value as unknown as Omit<AccountDocument, 'cv' | 'raisedAtMs'> & Partial<AccountDocument>;
	return { cv: 0, raisedAtMs: null, ...document, accountId: id, version };
}

function accountExists(username: string): RelayError {
	return new RelayError('account_exists', 'an account of this name, or of one that looks like it, exists already', {
		detail: `Username '${username}' already exists`,
	});
}
