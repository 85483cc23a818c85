/**
 * Where the Valkey server of this machine is, for tests that run against a real one: `valkey-server` on the PATH, else a
 * `redis-server` that is new enough.
 */

import { execFileSync } from 'node:child_process';
import { accessSync, constants } from 'node:fs';
import { delimiter, join } from 'node:path';

export interface ValkeyPrograms {
	/** Paths. */
	readonly server: string;
	readonly cli: string;
	readonly product: 'valkey' | 'redis';
	/** For example `8.0.1`. */
	readonly version: string;
}

/** The first major version of Redis that has sharded pub/sub and functions; every Valkey has them. */
const REDIS_MAJOR_MIN = 7;

/** Looks through a PATH; undefined when neither server is there with its client. */
export function findValkey(path: string = process.env['PATH'] ?? ''): ValkeyPrograms | undefined {
	for (const product of ['valkey', 'redis'] as const) {
		const server = findProgram(path, `${product}-server`);
		const cli = findProgram(path, `${product}-cli`);
		if (server === undefined || cli === undefined) continue;
		const version = parseVersion(execFileSync(server, ['--version'], { encoding: 'utf8' }));
		if (version !== undefined && isNewEnough(product, version)) return { server, cli, product, version };
	}
	return undefined;
}

/** Why tests that need a Valkey are to be skipped, or null. Never on CI, where they fail instead when it is missing. */
export function valkeyUnavailable(): string | null {
	if (process.env['CI'] !== undefined || findValkey() !== undefined) return null;
	return `no valkey-server and no redis-server ${REDIS_MAJOR_MIN} on this machine (npm run install:valkey)`;
}

/** The version in what `--version` printed: `Valkey server v=8.0.1 sha=…`. */
export function parseVersion(printed: string): string | undefined {
	return /\bv=(\d+\.\d+\.\d+)\b/.exec(printed)?.[1];
}

export function isNewEnough(product: ValkeyPrograms['product'], version: string): boolean {
	return product === 'valkey' || Number.parseInt(version, 10) >= REDIS_MAJOR_MIN;
}

function findProgram(path: string, name: string): string | undefined {
	return path
		.split(delimiter)
		.filter((directory) => directory !== '')
		.map((directory) => join(directory, name))
		.find((file) => isExecutable(file));
}

function isExecutable(file: string): boolean {
	try {
		accessSync(file, constants.X_OK);
		return true;
	} catch {
		return false;
	}
}
