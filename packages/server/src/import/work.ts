/** What the parts of an import share. */

import type { Accounts } from '../auth/accounts.ts';
import type { RefreshTokens } from '../auth/refresh-tokens.ts';
import type { TopicAccess } from '../auth/topic-access.ts';
import type { EarlierData } from '../ports/earlier-data.ts';
import type { Records } from '../ports/records.ts';
import type { Store } from '../ports/store.ts';
import type { ImportClock } from './ids.ts';
import type { Report } from './report.ts';

/** What an import works with. */
export interface Import {
	readonly source: EarlierData;
	/** Its clock is `clock`. */
	readonly store: Store;
	readonly clock: ImportClock;
	readonly records: Records;
	readonly accounts: Accounts;
	readonly sessions: RefreshTokens;
	readonly topics: TopicAccess;
	readonly report: Report;
	readonly nowMs: number;
	/** Only looks, and writes nothing. */
	readonly dryRun: boolean;
}
