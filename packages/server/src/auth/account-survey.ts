/** What a relay looks for in all accounts when it starts: names that were given before likenesses were claimed, and costs of passwords. */

import type { Records } from '../ports/records.ts';
import { freeClaimOps } from './account-names.ts';
import type { Account, Accounts } from './accounts.ts';
import type { Passwords } from './passwords.ts';

/** That the names of all accounts from before were claimed. */
const NAMES_CLAIMED = 'account-names-claimed';
const PAGE = 1000;

interface SurveyParts {
	readonly records: Records;
	readonly accounts: Accounts;
	readonly passwords: Passwords;
}

/** Goes over all accounts once. Rejects with `storage_unavailable`. */
export async function surveyAccounts({ records, accounts, passwords }: SurveyParts): Promise<void> {
	const areClaimed = (await records.get(NAMES_CLAIMED, 'all')) !== undefined;
	for (let after: string | null = null; ; ) {
		const page: readonly Account[] = await accounts.list(after, PAGE);
		for (const { passwordHash } of page) if (passwordHash !== null) passwords.learn(passwordHash);
		if (!areClaimed) await Promise.all(page.map((account) => claimName(records, account)));
		if (page.length < PAGE) break;
		after = page.at(-1)?.accountId ?? null;
	}
	if (!areClaimed) await records.write([{ op: 'put', kind: NAMES_CLAIMED, id: 'all', value: {}, expected: 'any' }]);
}

/** One by one: of two that look the same, one has the likeness, and both go on. */
async function claimName(records: Records, { username, accountId }: Account): Promise<void> {
	for (const claim of await freeClaimOps(records, username, accountId)) await records.write([claim]);
}
