/**
 * Accounts. The stored account is what counts: tokens only name one. Its name is claimed by a record of its own, in the same
 * write, so that two cannot have one name and neither can be left behind without the other.
 */

import { randomUUID } from 'node:crypto';
import { RelayError } from '@pulsar-relay/protocol/errors';
import type { Clock } from '../ports/clock.ts';
import type { RecordOp, Records, StoredRecord } from '../ports/records.ts';
import type { Passwords } from './passwords.ts';
import type { Permission } from './principal.ts';
import { RecordCache } from './record-cache.ts';

export const ACCOUNT = 'account';
const NAME = 'account-name';

export const USERNAME_LENGTH_MIN = 3;
export const USERNAME_LENGTH_MAX = 50;

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
	readonly version: number;
}

type AccountDocument = Omit<Account, 'accountId' | 'version'>;

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

	/** The id of the account of a name; names do not change hands while an account exists. */
	async idOf(username: string): Promise<string | null> {
		return this.#idByName.get(username);
	}

	peekIdOf(username: string): string | null | undefined {
		return this.#idByName.peek(username);
	}

	async findByName(username: string): Promise<Account | null> {
		const accountId = await this.idOf(username);
		return accountId === null ? null : this.get(accountId);
	}

	/** Makes an account, and what else is to be written in the same step. Rejects with `account_exists`. */
	async create(
		{ username, password, email, permissions }: NewAccount,
		also: (accountId: string) => readonly RecordOp[] = () => [],
	): Promise<Account> {
		if ((await this.idOf(username)) !== null) throw accountExists(username);
		const document: AccountDocument = {
			username,
			email,
			passwordHash: password === null ? null : await this.#passwords.hash(password),
			isActive: true,
			permissions: [...permissions],
			createdAtMs: this.#clock.nowMs(),
		};
		const accountId = randomUUID();
		const outcome = await this.#records.write([
			{ op: 'put', kind: NAME, id: username, value: { accountId }, expected: 'absent' },
			{ op: 'put', kind: ACCOUNT, id: accountId, value: { ...document }, expected: 'absent' },
			...also(accountId),
		]);
		if (outcome.status === 'conflict') throw accountExists(username);
		return { ...document, accountId, version: outcome.version };
	}

	/** Makes an account just as it is given, and writes the mark and its identities in the same step; or says what is in the way of it. */
	async adopt(account: Omit<Account, 'version'>, mark: RecordOp, identities: readonly RecordOp[]): Promise<AdoptOutcome> {
		const { accountId, ...document } = account;
		const outcome = await this.#records.write([
			mark,
			{ op: 'put', kind: NAME, id: document.username, value: { accountId }, expected: 'absent' },
			{ op: 'put', kind: ACCOUNT, id: accountId, value: { ...document }, expected: 'absent' },
			...identities,
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
	 * Changes an account; null when there is none. Only what is given changes, on what is stored at that moment: two changes of
	 * different fields at the same time both take effect.
	 */
	async change(accountId: string, { password, ...fields }: AccountChange): Promise<Account | null> {
		const hashed = password === undefined ? {} : { passwordHash: await this.#passwords.hash(password) };
		return this.#update(accountId, (document) => ({ ...document, ...fields, ...hashed }));
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
			{ op: 'delete', kind: NAME, id: accountOf(record).username, expected: 'any' },
		]);
		return outcome.status === 'ok';
	}

	/**
	 * Sees to the operator's own account: makes it with all permissions, or gives it the configured password when that is another.
	 * What else it is stays as it is.
	 */
	async bootstrap(admin: { readonly username: string; readonly password: string; readonly email: string | null }): Promise<void> {
		const { username, password, email } = admin;
		let account = await this.findByName(username);
		if (account === null) {
			try {
				await this.create({ username, password, email, permissions: ['admin', 'read', 'write'] });
				return;
			} catch (error) {
				// Another node that starts at the same time was first.
				if (RelayError.from(error).code !== 'account_exists') throw error;
				account = await this.findByName(username);
			}
		}
		if (account === null || (await this.#passwords.verify(account.passwordHash, password))) return;
		await this.change(account.accountId, { password });
	}

	close(): void {
		this.#byId.close();
		this.#idByName.close();
	}

	async #update(accountId: string, change: (document: AccountDocument) => AccountDocument): Promise<Account | null> {
		for (let attempt = 0; attempt < ATTEMPTS_MAX; attempt++) {
			const record = await this.#records.get(ACCOUNT, accountId);
			if (record === undefined) return null;
			const document = change(record.value as unknown as AccountDocument);
			const outcome = await this.#records.write([
				{ op: 'put', kind: ACCOUNT, id: accountId, value: { ...document }, expected: record.version },
			]);
			if (outcome.status === 'ok') return { ...document, accountId, version: outcome.version };
		}
		throw new RelayError('overloaded', 'the account is being changed by too many at once');
	}
}

function accountOf({ id, value, version }: StoredRecord): Account {
	return { ...(value as unknown as AccountDocument), accountId: id, version };
}

function accountExists(username: string): RelayError {
	return new RelayError('account_exists', 'an account of this name exists already', {
		detail: `Username '${username}' already exists`,
	});
}
