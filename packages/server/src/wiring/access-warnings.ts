/** What an operator should know about accounts at the start, as they are in the store. */

import type { Accounts } from '../auth/accounts.ts';
import { UNOWNED_ID } from '../auth/topic-access.ts';
import { countUnowned, hasOwned } from '../auth/unowned-topics.ts';
import type { Logger } from '../ops/logger.ts';
import type { Store } from '../ports/store.ts';

export interface AccessWarningsDeps {
	readonly topics: Pick<Store, 'listTopics'>;
	/** Null where nobody is asked for credentials. */
	readonly accounts: Pick<Accounts, 'hasAdmin'> | null;
	readonly logger: Pick<Logger, 'warn'>;
}

/** Logs a line for each thing that is wrong. Never rejects: a store that does not answer now is logged, too. */
export async function warnOfAccess({ topics, accounts, logger }: AccessWarningsDeps): Promise<void> {
	try {
		if (accounts === null) {
			if (await hasOwned(topics)) {
				logger.warn(
					'topics of accounts are kept, but nobody reaches them while PULSAR_AUTH is open: start with PULSAR_AUTH=required',
				);
			}
			return;
		}
		if (!(await accounts.hasAdmin())) {
			logger.warn(
				'there is no administrator, so nobody can make accounts: set PULSAR_BOOTSTRAP_ADMIN_USERNAME and ' +
					'PULSAR_BOOTSTRAP_ADMIN_PASSWORD, and start again',
			);
		}
		const count = await countUnowned(topics);
		if (count > 0) {
			logger.warn(
				{ unowned_topics: count },
				`topics that were made without accounts have no owner: they are kept, and administrators reach them as ` +
					`${UNOWNED_ID}/<topic> (docs/accounts.md)`,
			);
		}
	} catch (error) {
		logger.warn({ err: error }, 'could not look for an administrator and for topics that nobody reaches');
	}
}
