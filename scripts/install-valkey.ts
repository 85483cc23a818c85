/**
 * Installs a Valkey server for the tests, where that can be done unasked: on Debian and its kin, as root or with a sudo that wants
 * no password. Runs before `npm test`. It never fails: what it could not do it says, and the tests decide what that means.
 *
 * No source of packages is added to the machine: where Valkey is in the backports only, they are read through a list of sources
 * in a temporary directory, derived from the machine's own. No service is started.
 */

import { execFileSync } from 'node:child_process';
import { chmodSync, existsSync, globSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { findValkey } from '../packages/server/test/support/find-valkey.ts';

/** One archive that the machine installs from. */
export interface AptSource {
	readonly uris: readonly string[];
	readonly suites: readonly string[];
	readonly components: readonly string[];
	/** The other fields of the stanza as they stand there, such as `Signed-By`, which may go over several lines. */
	readonly rest: readonly string[];
}

/** A command as root: its arguments, and what is added to the environment. */
type AsRoot = (file: string, ...args: readonly string[]) => string;

const POLICY_FILE = '/usr/sbin/policy-rc.d';
const APT_TIMEOUT_MS = 180_000;
/** A mirror that does not answer must not hold up the tests for long. */
const APT_OPTIONS = ['-qq', '-o', 'Acquire::http::Timeout=20', '-o', 'Acquire::https::Timeout=20', '-o', 'Acquire::Retries=1'];

function main(): void {
	const here = describeValkey();
	if (here !== undefined) {
		console.log(`${here} is here`);
		return;
	}
	try {
		const asRoot = rootCommand();
		if (!existsSync('/usr/bin/apt-get')) say('there is no apt-get to install it with');
		else if (asRoot === undefined) say('installing it needs root; sudo apt-get install valkey-server, or redis-server');
		else install(asRoot);
	} catch (error) {
		say(error instanceof Error ? error.message : String(error));
	}
}

function say(why: string): void {
	console.error(`WARNING: no Valkey server for the tests: ${why}`);
}

function describeValkey(): string | undefined {
	const programs = findValkey();
	return programs === undefined ? undefined : `${programs.product}-server ${programs.version}`;
}

/** How to run a command as root without being asked for a password, or undefined. */
function rootCommand(): AsRoot | undefined {
	const prefix = process.getuid?.() === 0 ? [] : ['sudo', '-n'];
	const run: AsRoot = (...command) => {
		const [file = '', ...args] = [...prefix, 'env', 'DEBIAN_FRONTEND=noninteractive', ...command];
		return execFileSync(file, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'], timeout: APT_TIMEOUT_MS });
	};
	return attempt(() => run('true')) === undefined ? undefined : run;
}

/** The ways to get a server, best first, until one is there. */
function install(asRoot: AsRoot): void {
	const problems: string[] = [];
	const ways: readonly (() => unknown)[] = [
		() => {
			asRoot('apt-get', ...APT_OPTIONS, 'update');
			installPackage(asRoot, 'valkey-server', []);
		},
		() => installFromBackports(asRoot),
		() => installPackage(asRoot, 'redis-server', []),
	];
	const allowServices = forbidServices(asRoot);
	try {
		for (const way of ways) {
			try {
				way();
			} catch (error) {
				problems.push(lastLine(error));
			}
			const here = describeValkey();
			if (here === undefined) continue;
			console.log(`${here} installed for the tests, as a program: its service was not started`);
			return;
		}
	} finally {
		allowServices();
	}
	say(problems.join('; '));
}

function installPackage(asRoot: AsRoot, name: string, options: readonly string[]): void {
	asRoot('apt-get', ...APT_OPTIONS, ...options, 'install', '-y', '--no-install-recommends', name);
	// Neither now nor at the next boot. Fails where there is no systemd, which is as good.
	attempt(() => asRoot('systemctl', 'disable', '--quiet', name));
}

/** Installs from the backports of the machine's own archive, which it need not have enabled. */
function installFromBackports(asRoot: AsRoot): void {
	const codename = parseCodename(readFileSync('/etc/os-release', 'utf8'));
	if (codename === undefined) throw new Error('/etc/os-release names no release');
	const files = globSync(['/etc/apt/sources.list', '/etc/apt/sources.list.d/*.{list,sources}']);
	const source = mainArchive(
		files.flatMap((file) => parseSources(readFileSync(file, 'utf8'), file.endsWith('.sources'))),
		codename,
	);
	if (source === undefined) throw new Error(`no source of packages for ${codename}`);
	const directory = mkdtempSync(join(tmpdir(), 'pulsar-relay-apt-'));
	try {
		// Read by the user as whom apt fetches.
		chmodSync(directory, 0o755);
		for (const name of ['sources', 'lists']) mkdirSync(join(directory, name));
		writeFileSync(join(directory, 'sources', 'backports.sources'), renderSource(source, [codename, `${codename}-backports`]));
		const options = [
			...['-o', 'Dir::Etc::SourceList=/dev/null', '-o', `Dir::Etc::SourceParts=${join(directory, 'sources')}`],
			...['-o', `Dir::State::Lists=${join(directory, 'lists')}`, '-o', 'Dir::Cache::pkgcache=', '-o', 'Dir::Cache::srcpkgcache='],
		];
		asRoot('apt-get', ...APT_OPTIONS, ...options, 'update');
		installPackage(asRoot, 'valkey-server', options);
	} finally {
		// What apt put there belongs to root.
		asRoot('rm', '-rf', directory);
	}
}

/** Keeps packages from starting their services while they are installed; gives what ends that. */
function forbidServices(asRoot: AsRoot): () => void {
	if (existsSync(POLICY_FILE)) return () => {};
	const directory = mkdtempSync(join(tmpdir(), 'pulsar-relay-policy-'));
	const file = join(directory, 'policy-rc.d');
	writeFileSync(file, '#!/bin/sh\nexit 101\n');
	asRoot('install', '-m', '755', file, POLICY_FILE);
	rmSync(directory, { recursive: true });
	return () => asRoot('rm', '-f', POLICY_FILE);
}

/** The release's name in the text of /etc/os-release. */
export function parseCodename(osRelease: string): string | undefined {
	return /^VERSION_CODENAME="?([a-z]+)"?$/m.exec(osRelease)?.[1];
}

/** The archives that a file of sources names, whether in stanzas (`.sources`) or a line each (`.list`). Those of sources alone are left out. */
export function parseSources(text: string, inStanzas: boolean): AptSource[] {
	return inStanzas ? text.split(/\n(?:[ \t]*\n)+/).flatMap(parseStanza) : text.split('\n').flatMap(parseLine);
}

function parseStanza(text: string): AptSource[] {
	const fields = text
		.split('\n')
		.filter((line) => line.trim() !== '' && !line.startsWith('#'))
		.join('\n')
		.split(/\n(?![ \t])/);
	const words = (name: string) => {
		const field = fields.find((one) => one.toLowerCase().startsWith(`${name}:`)) ?? '';
		return field
			.slice(name.length + 1)
			.split(/\s+/)
			.filter((word) => word !== '');
	};
	if (!words('types').includes('deb') || words('enabled').includes('no')) return [];
	const rest = fields.filter((field) => !/^(types|uris|suites|components|enabled):/i.test(field));
	return [{ uris: words('uris'), suites: words('suites'), components: words('components'), rest }];
}

const LINE = /^deb\s+(?:\[(?<options>[^\]]*)\]\s+)?(?<uri>\S+)\s+(?<suite>\S+)(?<components>(?:\s+[^\s#]+)*)/;

function parseLine(text: string): AptSource[] {
	const { options = '', uri, suite, components = '' } = LINE.exec(text.trim())?.groups ?? {};
	if (uri === undefined || suite === undefined) return [];
	const signedBy = /\bsigned-by=(\S+)/.exec(options)?.[1];
	return [
		{
			uris: [uri],
			suites: [suite],
			components: components.split(/\s+/).filter((word) => word !== ''),
			rest: signedBy === undefined ? [] : [`Signed-By: ${signedBy}`],
		},
	];
}

/**
 * The distribution's main archive among the sources: it serves the release itself, and preferably its updates, which others that name
 * their suites after the release do not. The archive of security updates has no suite of the release's bare name.
 */
export function mainArchive(sources: readonly AptSource[], codename: string): AptSource | undefined {
	const served = sources.filter(({ suites, components }) => suites.includes(codename) && components.includes('main'));
	const hasUpdates = (uri: string) =>
		sources.some(({ uris, suites }) => uris.includes(uri) && suites.includes(`${codename}-updates`));
	return served.find(({ uris }) => uris.some(hasUpdates)) ?? served[0];
}

/** An archive as a stanza, with other suites. */
export function renderSource(source: AptSource, suites: readonly string[]): string {
	const lines = [
		'Types: deb',
		`URIs: ${source.uris.join(' ')}`,
		`Suites: ${suites.join(' ')}`,
		'Components: main',
		...source.rest,
	];
	return `${lines.join('\n')}\n`;
}

/** What a command gives, or undefined when it fails, where that is an answer too. */
function attempt<T>(run: () => T): T | undefined {
	try {
		return run();
	} catch {
		return undefined;
	}
}

/** What a command that failed said last. */
function lastLine(error: unknown): string {
	const { stderr, message } = error as { readonly stderr?: string; readonly message: string };
	return (stderr ?? '').trim().split('\n').at(-1) || message;
}

if (import.meta.main) main();
