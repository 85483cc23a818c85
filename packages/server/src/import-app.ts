/** The composition root of `pulsar-relay import`: the earlier data, the configured store, and the import between them. */

import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { RelayError } from '@pulsar-relay/protocol/errors';
import { openStorage } from './app.ts';
import { Accounts } from './auth/accounts.ts';
import { Passwords } from './auth/passwords.ts';
import { RefreshTokens } from './auth/refresh-tokens.ts';
import { Revocations } from './auth/revocations.ts';
import { TopicAccess } from './auth/topic-access.ts';
import type { Config } from './config/schema.ts';
import { ImportClock } from './import/ids.ts';
import { runImport } from './import/import.ts';
import { type Counts, type ImportListener, Report } from './import/report.ts';
import { systemClock } from './ops/clock.ts';
import type { Logger } from './ops/logger.ts';
import { openEarlierData } from './stores/valkey/earlier-data.ts';
import type { ServerOptions } from './stores/valkey/glide.ts';
import { valkeyServer } from './wiring/valkey.ts';

const DEFAULT_PORT = 6379;

export interface ImportOptions {
	readonly config: Config;
	readonly logger: Logger;
	/** Only looks, and writes nothing. */
	readonly dryRun: boolean;
	readonly listener: ImportListener;
}

/** Imports what the earlier server left. Rejects with RelayError, in one clear line, when it cannot be read or stored. */
export async function importEarlierData({ config, logger, dryRun, listener }: ImportOptions): Promise<Counts> {
	const target = dryRun && !hasData(config) ? { ...config, storageBackend: 'memory' as const } : config;
	const clock = new ImportClock(systemClock);
	const source = await openEarlierData(sourceOf(config), systemClock);
	const opened: { close(): unknown }[] = [source];
	try {
		const { store, openRecords } = await openStorage(target, clock, logger, 'clock');
		opened.push(store);
		const records = await openRecords();
		opened.push(records);
		const parts = { records, clock: systemClock };
		const accounts = new Accounts({ ...parts, passwords: new Passwords() });
		const topics = new TopicAccess({ ...parts, accounts });
		const revocations = new Revocations(parts);
		opened.push(accounts, topics, revocations);
		const sessions = new RefreshTokens({
			...parts,
			accounts,
			revocations,
			lifetimeS: config.refreshTokenTtlDays * 86_400,
			graceS: config.refreshGraceS,
		});
		const report = new Report(listener);
		return await runImport({ source, store, clock, records, accounts, sessions, topics, report, nowMs: Date.now(), dryRun });
	} finally {
		for (const one of opened.reverse()) await one.close();
	}
}

/** Whether there is something to compare with. A dry run makes no data directory. */
function hasData({ storageBackend, dataDir }: Config): boolean {
	return storageBackend !== 'embedded' || existsSync(join(dataDir, 'relay.db'));
}

/** Where the earlier data is: at its own address, or else where this relay would look for its Valkey. */
function sourceOf(config: Config): ServerOptions {
	const own = valkeyServer(config);
	if (config.importSource === null) {
		if (!own.cluster) return own;
		throw new RelayError('bad_request', 'the earlier data is not on a Cluster; say with PULSAR_IMPORT_SOURCE where it is');
	}
	const { protocol, hostname, port, username, password } = new URL(config.importSource);
	const tls = protocol === 'valkeys:' || protocol === 'rediss:';
	return {
		addresses: [{ host: hostname.replace(/^\[(.*)\]$/, '$1'), port: port === '' ? DEFAULT_PORT : Number(port) }],
		cluster: false,
		tls: tls ? (own.tls ?? (() => ({ ca: null, own: null }))) : null,
		username: username === '' ? null : decodeURIComponent(username),
		password: () => (password === '' ? null : decodeURIComponent(password)),
		keyPrefix: '',
	};
}
