/**
 * The operator's own account, from the settings. The configured password acts only when it is another than the one that was applied last:
 * what is changed through the API stays changed, and a new value replaces the password and ends everything made under the old one.
 */

import { RelayError } from '@pulsar-relay/protocol/errors';
import type { RecordOp, Records } from '../ports/records.ts';
import type { Accounts } from './accounts.ts';
import type { AuthLog } from './auth-log.ts';
import type { Passwords } from './passwords.ts';

/** By username: the hash of the configured password that was applied last. */
const APPLIED = 'bootstrap-admin';
/** Attempts while other nodes, which start at the same time, do the same. */
const ATTEMPTS_MAX = 20;

export interface BootstrapAdmin {
	readonly username: string;
	readonly password: string;
	/** When the account is made. */
	readonly email: string | null;
}

interface BootstrapParts {
	readonly records: Records;
	readonly accounts: Accounts;
	readonly passwords: Passwords;
	readonly log: AuthLog;
}

/**
 * Makes the account with all permissions when there is none, or gives it the configured password when that has changed. What else the
 * account is stays. Rejects with `account_exists` when another account has a name that looks like this one.
 */
export async function bootstrapAdmin(parts: BootstrapParts, admin: BootstrapAdmin): Promise<void> {
	for (let attempt = 0; attempt < ATTEMPTS_MAX; attempt++) {
		if (await apply(parts, admin)) return;
	}
	throw new RelayError('overloaded', 'the bootstrap account is being changed by too many at once');
}

/** False when somebody else was at it at the same time. */
async function apply({ records, accounts, passwords, log }: BootstrapParts, admin: BootstrapAdmin): Promise<boolean> {
	const { username, password, email } = admin;
	const applied = await records.get(APPLIED, username);
	const accountId = await accounts.idOf(username);
	const account = accountId === null ? null : await accounts.read(accountId);
	const appliedHash = applied === undefined ? null : String(applied.value['passwordHash']);
	if (account !== null && appliedHash !== null && (await passwords.verify(appliedHash, password))) return true;
	const value = { passwordHash: await passwords.hash(password) };
	const note: RecordOp = { op: 'put', kind: APPLIED, id: username, value, expected: applied?.version ?? 'absent' };
	if (account === null) {
		try {
			await accounts.create({ username, password, email, permissions: ['admin', 'read', 'write'] }, () => [note]);
			return true;
		} catch (thrown) {
			const { code, message } = RelayError.from(thrown);
			if (code === 'account_exists' && (await accounts.idOf(username)) !== null) return false;
			if (code !== 'account_exists' && code !== 'invalid_request') throw thrown;
			throw new RelayError(code, `the bootstrap account '${username}' cannot be made: ${message}`);
		}
	}
	if (await passwords.verify(account.passwordHash, password)) return (await records.write([note])).status === 'ok';
	if ((await accounts.change(account.accountId, { password }, [note])) === null) return false;
	log.warn({ username }, 'the bootstrap account got the configured password; what was made under the old one has ended');
	return true;
}
