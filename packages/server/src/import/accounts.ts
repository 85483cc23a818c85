/** Accounts, and the sessions that have not ended. */

import type { AdoptedAccount, AdoptOutcome } from '../auth/accounts.ts';
import { identityOps } from '../auth/federated-accounts.ts';
import { type AdoptedSession, SESSIONS_MAX } from '../auth/refresh-tokens.ts';
import type { EarlierRecord } from '../ports/earlier-data.ts';
import { decodeAccount, decodeSession, isRevoked } from './decode.ts';
import { isMarked, markOp } from './marks.ts';
import type { Import } from './work.ts';

/** Takes over one account with its sessions. */
export async function importAccount(work: Import, record: EarlierRecord): Promise<void> {
	const decoded = decodeAccount(record);
	if (decoded.status === 'malformed') return work.report.skipped('accounts', record.key, decoded.why);
	const { account, identities } = decoded.value;
	const { accountId, username } = account;
	const outcome = work.dryRun
		? await wouldAdopt(work, account)
		: await work.accounts.adopt(account, markOp('account', accountId), identityOps(accountId, identities));
	switch (outcome) {
		case 'adopted':
			work.report.taken('accounts');
			break;
		case 'marked':
			work.report.before('accounts');
			if (!work.dryRun) await endRevoked(work, accountId);
			break;
		case 'name_taken':
			return work.report.skipped('accounts', record.key, `another account here has the name ${username}; delete that one first`);
		case 'id_taken':
			return work.report.skipped('accounts', record.key, 'an account here has its id, and was not imported');
		case 'identity_taken':
			return work.report.skipped('accounts', record.key, 'an account here was made for the same sign-in; delete that one first');
	}
	for (const session of await sessionsOf(work, accountId)) await importSession(work, session);
}

/** As far as it can be said beforehand. */
async function wouldAdopt(
	{ records, accounts }: Import,
	{ accountId: id, username: name }: AdoptedAccount,
): Promise<AdoptOutcome> {
	if (await isMarked(records, 'account', id)) return 'marked';
	if ((await accounts.idOf(name)) !== null) return 'name_taken';
	return (await accounts.get(id)) === null ? 'adopted' : 'id_taken';
}

/**
 * The sessions that are worth it: clients of the earlier server that sign in by password leave thousands that nobody has the token of, so
 * that first come those which have been used, then the newest.
 */
async function sessionsOf({ source, report, nowMs }: Import, accountId: string): Promise<readonly AdoptedSession[]> {
	let best: AdoptedSession[] = [];
	const keepBest = () => {
		best.sort((a, b) => Number(b.isSuccessor) - Number(a.isSuccessor) || b.issuedAtMs - a.issuedAtMs);
		best = best.slice(0, SESSIONS_MAX);
	};
	for await (const record of source.sessionsOf(accountId)) {
		const decoded = decodeSession(record, accountId, nowMs);
		if (decoded.status === 'malformed') report.skipped('sessions', record.key, decoded.why);
		else if (decoded.value !== null) best.push(decoded.value);
		if (best.length >= 2 * SESSIONS_MAX) keepBest();
	}
	keepBest();
	return best;
}

/** Ends what has ended there since an import before, and has not been gone on with here. */
async function endRevoked({ source, sessions }: Import, accountId: string): Promise<void> {
	for (const { jti } of await sessions.list(accountId)) {
		if (isRevoked((await source.session(jti)).fields)) await sessions.deleteUnused(accountId, jti);
	}
}

async function importSession({ report, sessions, records, dryRun }: Import, session: AdoptedSession): Promise<void> {
	const { jti, expiresAtMs } = session;
	const isNew = dryRun
		? !(await isMarked(records, 'session', jti))
		: await sessions.adopt(session, markOp('session', jti, expiresAtMs));
	if (isNew) report.taken('sessions');
	else report.before('sessions');
}
