/**
 * Settings from flags, the environment and a file, in this order of precedence, then the defaults; every wrong one is reported
 * at once. Pure: what it reads is handed in.
 */

import { EARLIER_NAMES } from './earlier-names.ts';
import { normaliseEdge } from './edge-values.ts';
import { type ReadFile, readConfigFile } from './file.ts';
import { parseFlags, type Task } from './flags.ts';
import { guardAccess, guardSignIn } from './guard.ts';
import { masked } from './masked.ts';
import { isProviderVariable, readProviders } from './providers.ts';
import { helpText } from './render.ts';
import { type Config, fileKeyOf, fileSettingOf, SETTINGS, type Setting } from './schema.ts';
import { readSecretFile } from './secrets.ts';
import { readValue, type SettingValue } from './values.ts';

/** What {@link loadConfig} reads. */
export interface ConfigSources {
	/** The arguments after the program's name. */
	readonly argv: readonly string[];
	/** The environment. Names count in any case; an empty value counts as not set. */
	readonly env: Readonly<Record<string, string | undefined>>;
	readonly readFile: ReadFile;
}

/** What {@link loadConfig} found: settings to run with, a text to print, or everything that is wrong. */
export type LoadedConfig =
	| { readonly status: 'ok'; readonly task: Task; readonly config: Config; readonly warnings: readonly string[] }
	| { readonly status: 'help'; readonly text: string }
	| { readonly status: 'version' }
	| { readonly status: 'invalid'; readonly problems: readonly string[] };

/** A value somebody gave, with the name they gave it under, for messages. */
interface Given {
	readonly raw: unknown;
	readonly name: string;
}

type GivenByEnv = ReadonlyMap<string, Given>;

/** Names that are read, but are no settings. */
const CONFIG_FILE_ENV = 'PULSAR_CONFIG_FILE';

/**
 * Loads the settings. `problems` and `warnings` are one line each, without a full stop; a wrong value that a source of higher
 * precedence overrides is no problem.
 */
export function loadConfig(sources: ConfigSources): LoadedConfig {
	const flags = parseFlags(sources.argv);
	if (flags.asked === 'help') return { status: 'help', text: helpText() };
	if (flags.asked === 'version') return { status: 'version' };

	const env = pulsarVariables(sources.env);
	const file = readConfigFile(flags.configFile ?? env.get(CONFIG_FILE_ENV), sources.readFile);
	const problems = [...flags.problems, ...(file.status === 'wrong' ? [file.problem] : [])];
	const warnings: string[] = [];

	const byEnv = givenInEnv(env, warnings);
	const byFile = file.status === 'ok' && file.path !== null ? givenInFile(file.path, file.entries, warnings) : new Map();
	const values: Record<string, SettingValue> = {};
	const given = new Set<string>();
	for (const setting of SETTINGS) {
		values[setting.key] = setting.default;
		const from = flags.given.get(setting.env) ?? byEnv.get(setting.env) ?? byFile.get(setting.env);
		if (from === undefined) continue;
		given.add(setting.key);
		const read = readValue(setting, from.raw);
		if (read.status === 'ok') values[setting.key] = read.value;
		else problems.push(`${from.name}: ${read.problem}`);
	}

	// As in a URL, `[::1]` is the address `::1`.
	values['host'] = String(values['host']).replace(/^\[(.*)\]$/, '$1');
	problems.push(...readSecretFiles(values, given, sources.readFile), ...normaliseEdge(values), ...contradictions(values));
	// Who sets a secret to sign in with means it to be used, as it was by the earlier server, which knew no other way.
	if (!given.has('auth') && (given.has('jwtSecretKey') || given.has('bootstrapAdminPassword'))) values['auth'] = 'required';
	const { providers, problems: providerProblems } = readProviders([byEnv, byFile], sources.readFile);
	problems.push(...providerProblems);
	// The loop above gave every key of the table a value of its setting's type.
	const config = Object.freeze({ ...values, oidcProviders: providers }) as unknown as Config;
	const signIn = guardSignIn(config);
	problems.push(...signIn.problems);
	warnings.push(...signIn.warnings);
	const onLoopback = isLoopback(config.host);
	if (config.auth === 'required') {
		const guard = guardAccess(config, onLoopback);
		problems.push(...guard.problems);
		warnings.push(...guard.warnings);
	} else if (!onLoopback && !given.has('auth')) {
		problems.push(
			`PULSAR_HOST: ${config.host} is not a loopback address, and whoever reaches it could publish and read; ` +
				'set PULSAR_AUTH=required, or PULSAR_AUTH=open if that is meant',
		);
	}
	const { task } = flags;
	if (task.kind === 'import' && config.storageBackend === 'memory')
		problems.push('PULSAR_STORAGE_BACKEND: what is imported into the memory store is lost at once; use another');
	return problems.length > 0 ? { status: 'invalid', problems } : { status: 'ok', task, config, warnings };
}

/** Puts what the files of secrets hold in the place of the secrets, as if they had been given. Gives what is wrong. */
function readSecretFiles(values: Record<string, SettingValue>, given: Set<string>, readFile: ReadFile): string[] {
	const problems: string[] = [];
	for (const setting of SETTINGS) {
		if (setting.secret !== true) continue;
		const { key: fileKey, env } = fileSettingOf(setting);
		const file = values[fileKey] ?? null;
		if (file === null) continue;
		const read = readSecretFile(setting, { file, givenAs: given.has(setting.key) ? setting.env : null, readFile });
		given.add(setting.key);
		if (read.status === 'ok') values[setting.key] = read.value;
		else problems.push(`${env}: ${read.problem}`);
	}
	return problems;
}

/** Settings that are good each alone, but not together. */
function contradictions(values: Record<string, SettingValue>): string[] {
	const { storageBackend, durability, valkeyCluster, valkeyAddresses, valkeyUseTls, valkeyTlsCert, valkeyTlsKey, workers } =
		values;
	const problems: string[] = [];
	if (workers !== 1 && storageBackend !== 'valkey') {
		problems.push(
			`PULSAR_WORKERS: ${workers} processes cannot share the ${storageBackend} store; use the valkey store, or one worker`,
		);
	}
	problems.push(...brokenTls(values));
	const replicated = String(durability).startsWith('replicated:');
	if (storageBackend === 'memory' && durability !== 'any') {
		problems.push(`PULSAR_DURABILITY: the memory store cannot give ${durability}`);
	}
	if (replicated && storageBackend === 'embedded') problems.push('PULSAR_DURABILITY: the embedded store has no replicas');
	if (replicated && valkeyCluster === true) {
		problems.push('PULSAR_DURABILITY: replicas are waited for on one server with replicas only, not on a Cluster');
	}
	for (const address of Array.isArray(valkeyAddresses) ? valkeyAddresses : []) {
		const isAddress = /^(\[[0-9a-f:.%]+\]|[^\s@/?#[\]]+):[1-9][0-9]{0,4}$/i.test(address);
		if (!isAddress || Number(/[0-9]+$/.exec(address)?.[0]) > 65_535)
			problems.push(`PULSAR_VALKEY_ADDRESSES: ${JSON.stringify(masked(address))} is not host:port`);
	}
	if ((valkeyTlsCert === null) !== (valkeyTlsKey === null))
		problems.push('PULSAR_VALKEY_TLS_CERT: needs PULSAR_VALKEY_TLS_KEY, and the key needs the certificate');
	else if (valkeyTlsCert !== null && valkeyUseTls === false)
		problems.push('PULSAR_VALKEY_TLS_CERT: is of no use without PULSAR_VALKEY_USE_TLS=yes');
	return problems;
}

/** Certificates that could never be right. */
function brokenTls({ tlsCert, tlsKey, tlsClientCa }: Record<string, SettingValue>): string[] {
	if ((tlsCert === null) !== (tlsKey === null)) return ['PULSAR_TLS_CERT: needs PULSAR_TLS_KEY, and that it'];
	if (tlsClientCa !== null && tlsCert === null) return ['PULSAR_TLS_CLIENT_CA: needs PULSAR_TLS_CERT and PULSAR_TLS_KEY'];
	return [];
}

/** The PULSAR_ variables that are set, under upper-case names; of two spellings the upper-case one wins. */
function pulsarVariables(env: ConfigSources['env']): ReadonlyMap<string, string> {
	const variables = new Map<string, string>();
	for (const [name, value] of Object.entries(env)) {
		const upper = name.toUpperCase();
		if (!upper.startsWith('PULSAR_') || value === undefined || value.trim() === '') continue;
		if (name === upper || !variables.has(upper)) variables.set(upper, value);
	}
	return variables;
}

/** Names that are not in the table only warn: a deployment may still set names of the earlier server that are not read yet. */
function givenInEnv(env: ReadonlyMap<string, string>, warnings: string[]): GivenByEnv {
	const given = new Map<string, Given>();
	for (const [name, raw] of env) {
		if (isProviderVariable(name) || SETTINGS.some((setting) => setting.env === name)) given.set(name, { raw, name });
		else if (name !== CONFIG_FILE_ENV) warnings.push(`${name} is set, but ${ignored(name)}`);
	}
	return given;
}

/** Why a name has no effect, and what has, if something does. */
function ignored(name: string): string {
	const instead = EARLIER_NAMES.get(name);
	return `this version has no such setting; ${instead === undefined ? 'it is ignored' : instead}`;
}

function givenInFile(path: string, entries: Iterable<readonly [string, unknown]>, warnings: string[]): GivenByEnv {
	const settings: ReadonlyMap<string, Setting> = new Map(SETTINGS.map((setting) => [fileKeyOf(setting), setting]));
	const given = new Map<string, Given>();
	for (const [key, raw] of entries) {
		const env = settings.get(key)?.env ?? `PULSAR_${key.toUpperCase()}`;
		if (!settings.has(key) && !isProviderVariable(env)) warnings.push(`${key} in ${path}: ${ignored(env)}`);
		// A key without a value (`port:` in YAML) leaves the setting as it is.
		else if (raw !== null) given.set(env, { raw, name: `${key} in ${path}` });
	}
	return given;
}

/**
 * Whether only this machine can reach an address that is listened on. Spellings that are not recognised count as reachable, so that a mistake asks
 * for one word too many rather than opening the relay.
 */
export function isLoopback(host: string): boolean {
	return /^(localhost|::1|(::ffff:)?127(\.(25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])){3})$/i.test(host);
}
