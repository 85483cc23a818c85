/**
 * The import of what pulsar-relay 0.2 left in Valkey: accounts, sessions, topics, messages. It can be interrupted, repeated, and run
 * while the earlier server still serves: each run takes over what the ones before have not.
 */

import { importAccount } from './accounts.ts';
import type { Counts } from './report.ts';
import { importTopic } from './topics.ts';
import type { Import } from './work.ts';

/** Imports everything. Rejects with RelayError when source or store fail; what was done by then is done. */
export async function runImport(work: Import): Promise<Counts> {
	const { source, report } = work;
	report.counts.legacyTopics = await source.countLegacyTopics();
	// Accounts first: a topic whose owner has none is not imported.
	for await (const account of source.accounts()) await importAccount(work, account);
	for await (const topic of source.topics()) await importTopic(work, topic);
	return report.counts;
}
