/** How many files, and so connections, the system lets this process have open. */

import type { Config } from '../config/schema.ts';

/** The limit in force; null where the system has none or does not say. Node has raised the soft limit to the hard one at its start. */
export function openFilesMax(): number | null {
	if (process.report === undefined) return null;
	// Looking up the names of peers would take seconds.
	Object.assign(process.report, { excludeNetwork: true });
	const report = process.report.getReport() as { readonly userLimits?: { readonly open_files?: { readonly soft?: unknown } } };
	const soft = report.userLimits?.open_files?.soft;
	return typeof soft === 'number' ? soft : null;
}

/** A warning, when the limit is below the connections that the settings allow. */
export function openFilesWarnings({ maxConnections }: Config, limit: number | null): string[] {
	if (limit === null || limit >= maxConnections) return [];
	return [
		`the process may have ${limit} files open, so it cannot hold the ${maxConnections} connections of PULSAR_MAX_CONNECTIONS; ` +
			'raise the limit (ulimit -n, LimitNOFILE), or lower the setting',
	];
}
