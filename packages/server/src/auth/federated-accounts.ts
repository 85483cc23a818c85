/**
 * Accounts of people whom somebody else knows: an identity is an issuer and what that issuer calls a person, and it belongs to one
 * account for good. The first time somebody signs in an account is made, which no password opens; an account that was there
 * before never becomes somebody's because an issuer says a name.
 */

import { hash, randomBytes } from 'node:crypto';
import { RelayError } from '@pulsar-relay/protocol/errors';
import type { RecordOp, Records } from '../ports/records.ts';
import type { Account, Accounts } from './accounts.ts';
import type { Permission } from './principal.ts';
import { looksLikeId, USERNAME_LENGTH_MAX, USERNAME_LENGTH_MIN, usernameProblem } from './usernames.ts';

/** By the digest of issuer and subject. */
const IDENTITY = 'identity';
/** By the account's id: that it was made for an identity. */
const FEDERATED = 'federated-account';

const SUBJECT_LENGTH_MAX = 1024;
const EMAIL_LENGTH_MAX = 320;
const RANDOM_NAMES = 5;

/** What an issuer says of a person. */
export interface Identity {
	readonly issuer: string;
	readonly subject: string;
}

/** How a new account is to be. */
export interface Introduction {
	readonly provider: string;
	/** What the account is called after; the first that is a text counts. */
	readonly names: readonly unknown[];
	readonly email: string | null;
	readonly permissions: readonly Permission[];
}

export interface FederatedAccountsOptions {
	readonly records: Records;
	readonly accounts: Accounts;
}

export class FederatedAccounts {
	readonly #options: FederatedAccountsOptions;

	constructor(options: FederatedAccountsOptions) {
		this.#options = options;
	}

	/** The account of an identity; null when nobody of that identity has signed in, or the account is gone. */
	async find(identity: Identity): Promise<Account | null> {
		const record = await this.#options.records.get(IDENTITY, identityId(identity));
		return record === undefined ? null : this.#options.accounts.get(String(record.value['accountId']));
	}

	/** The account of an identity, made when there is none. Rejects with `account_conflict` when its name is a local account's. */
	async findOrMake(identity: Identity, introduction: Introduction): Promise<Account> {
		const { records, accounts } = this.#options;
		for (const username of namesOf(identity, introduction)) {
			// Anew for each name: the same person may sign in twice at once, and is to have one account.
			const known = await this.find(identity);
			if (known !== null) return known;
			if (usernameProblem(username) !== undefined) continue;
			const holder = await accounts.holderOf(username);
			if (holder !== null) {
				if ((await records.get(FEDERATED, holder)) === undefined) throw nameIsLocal();
				continue;
			}
			const made = await this.#make(identity, username, introduction);
			if (made !== null) return made;
		}
		throw new RelayError('overloaded', 'no name is free for the account');
	}

	/** An account is gone, and what it was made for with it. */
	async forget(accountId: string): Promise<void> {
		const { records } = this.#options;
		const record = await records.get(FEDERATED, accountId);
		const identity = record === undefined ? null : identityOf(record.value['issuer'], record.value['subject']);
		if (identity === null) return;
		const id = identityId(identity);
		const owner = await records.get(IDENTITY, id);
		await records.write([{ op: 'delete', kind: FEDERATED, id: accountId, expected: 'any' }]);
		// Somebody who signed in again meanwhile has another account, and keeps it.
		if (owner?.value['accountId'] !== accountId) return;
		await records.write([{ op: 'delete', kind: IDENTITY, id, expected: owner.version }]);
	}

	/** Null when the name was taken, or the identity got an account, meanwhile. */
	async #make(identity: Identity, username: string, { email, permissions }: Introduction): Promise<Account | null> {
		const id = identityId(identity);
		// There may be one whose account is just being deleted.
		const before = await this.#options.records.get(IDENTITY, id);
		try {
			return await this.#options.accounts.create({ username, password: null, email, permissions }, (accountId) => [
				{ op: 'put', kind: IDENTITY, id, value: { accountId }, expected: before?.version ?? 'absent' },
				{ op: 'put', kind: FEDERATED, id: accountId, value: { ...identity }, expected: 'absent' },
			]);
		} catch (error) {
			if (RelayError.from(error).code !== 'account_exists') throw error;
			return null;
		}
	}
}

/** What is to be written with an account that another server has made for identities; none may belong to an account here. */
export function identityOps(accountId: string, identities: readonly Identity[]): RecordOp[] {
	const [first] = identities;
	if (first === undefined) return [];
	return [
		...identities.map((identity): RecordOp => {
			return { op: 'put', kind: IDENTITY, id: identityId(identity), value: { accountId }, expected: 'absent' };
		}),
		{ op: 'put', kind: FEDERATED, id: accountId, value: { ...first }, expected: 'absent' },
	];
}

/** What an account may be called: the plain name, then names that say more. What looks like a user id is no name. */
function* namesOf({ subject }: Identity, { provider, names }: Introduction): Generator<string> {
	const isName = (name: unknown) => typeof name === 'string' && plainName(name) !== '' && !looksLikeId(name);
	const base = plainName(names.find(isName) ?? subject);
	const ofSubject = `-${provider}-${subject.replace(/[^A-Za-z0-9]/g, '').slice(0, 8)}`;
	yield base.length < USERNAME_LENGTH_MIN ? `${base}-user`.replace(/^-/, '') : base;
	yield ended(base, `-${provider}`);
	yield ended(base, ofSubject);
	for (let i = 0; i < RANDOM_NAMES; i++) yield ended(base, `${ofSubject}-${randomBytes(3).toString('hex')}`);
}

function plainName(name: unknown): string {
	return String(name)
		.slice(0, SUBJECT_LENGTH_MAX)
		.replace(/[^A-Za-z0-9._@+-]/g, '-')
		.replace(/^-+|-+$/g, '')
		.slice(0, USERNAME_LENGTH_MAX);
}

/** A name with an end that makes it another one, within its length. */
function ended(name: string, end: string): string {
	return `${name.slice(0, USERNAME_LENGTH_MAX - end.length)}${end}`;
}

/** An identity from what a token says; null when that is none. */
export function identityOf(issuer: unknown, subject: unknown): Identity | null {
	if (typeof issuer !== 'string' || issuer === '' || typeof subject !== 'string') return null;
	return subject === '' || subject.length > SUBJECT_LENGTH_MAX ? null : { issuer, subject };
}

/** An e-mail address counts only if the issuer has seen to it that it is the person's. */
export function verifiedEmail(claims: Readonly<Record<string, unknown>>, claim: string): string | null {
	const email = claims[claim];
	return claims['email_verified'] === true && typeof email === 'string' && email !== '' && email.length <= EMAIL_LENGTH_MAX
		? email
		: null;
}

function identityId({ issuer, subject }: Identity): string {
	return hash('sha256', JSON.stringify([issuer, subject]), 'hex');
}

function nameIsLocal(): RelayError {
	return new RelayError('account_conflict', 'an account of this name exists that is not of this sign-in', {
		detail: 'OIDC sign-in collides with an existing local account. Contact an administrator.',
	});
}
