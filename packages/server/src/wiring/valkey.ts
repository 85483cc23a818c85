/** How Valkey is reached and what is asked of it, by the settings. */

import { readFileSync } from 'node:fs';
import type { Config } from '../config/schema.ts';
import { unavailable } from '../stores/valkey/failure.ts';
import type { ServerAddress, ServerOptions, ServerTls } from '../stores/valkey/glide.ts';
import type { ServerDemands } from '../stores/valkey/server-check.ts';

/** How the configured server is reached. */
export function valkeyServer(config: Config): ServerOptions {
	return {
		addresses: valkeyAddresses(config),
		cluster: config.valkeyCluster,
		tls: config.valkeyUseTls ? () => tlsOf(config) : null,
		username: config.valkeyUsername,
		password: () => passwordOf(config),
		keyPrefix: config.valkeyKeyPrefix ?? '',
	};
}

/** The password as its file has it now: it may have been changed since the start. */
function passwordOf({ valkeyPassword, valkeyPasswordFile: path }: Config): string | null {
	if (path === null) return valkeyPassword;
	const password = read('PULSAR_VALKEY_PASSWORD_FILE', path)
		.toString()
		.replace(/\r?\n$/, '');
	if (password === '') throw unavailable('the file of PULSAR_VALKEY_PASSWORD_FILE is empty');
	return password;
}

function tlsOf({ valkeyCaPath, valkeyTlsCert, valkeyTlsKey }: Config): ServerTls {
	const ca = valkeyCaPath === null ? null : read('PULSAR_VALKEY_CA_PATH', valkeyCaPath);
	if (valkeyTlsCert === null || valkeyTlsKey === null) return { ca, own: null };
	const certificate = read('PULSAR_VALKEY_TLS_CERT', valkeyTlsCert);
	return { ca, own: { certificate, key: read('PULSAR_VALKEY_TLS_KEY', valkeyTlsKey) } };
}

/** Names the setting and not the path: while the relay runs, `/ready` shows the reason to everybody. */
function read(setting: string, path: string): Buffer {
	try {
		return readFileSync(path);
	} catch (error) {
		const why = error instanceof Error && 'code' in error ? String(error.code) : 'unknown';
		throw unavailable(`the file of ${setting} cannot be read (${why})`, error);
	}
}

function valkeyAddresses({ valkeyAddresses, valkeyHost, valkeyPort }: Config): readonly ServerAddress[] {
	if (valkeyAddresses.length === 0) return [{ host: withoutBrackets(valkeyHost), port: valkeyPort }];
	return valkeyAddresses.map((address) => {
		const colon = address.lastIndexOf(':');
		return { host: withoutBrackets(address.slice(0, colon)), port: Number(address.slice(colon + 1)) };
	});
}

/** As in a URL, `[::1]` is the address `::1`. */
function withoutBrackets(host: string): string {
	return host.replace(/^\[(.*)\]$/, '$1');
}

export function valkeyDemands({ durability, valkeyAssumeDurability, valkeyAllowEviction }: Config): ServerDemands {
	const replicas = Number(/^replicated:(\d)$/.exec(durability)?.[1] ?? 0);
	return {
		durability: levelsOf(durability),
		replicas,
		assumeDurability: valkeyAssumeDurability === 'unknown' ? null : valkeyAssumeDurability,
		allowEviction: valkeyAllowEviction,
	};
}

/** What will do for a setting; a message that waits for replicas must not be lost with every restart of the primary. */
function levelsOf(durability: string): ServerDemands['durability'] {
	if (durability === 'any') return [];
	return durability === 'everysec' || durability === 'process' || durability === 'disk' ? [durability] : ['everysec', 'process'];
}
