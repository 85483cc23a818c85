/** Packages from PyPI, each in an environment of its own that is kept from one run to the next. */

import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, renameSync, rmSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';

const INSTALL_TIMEOUT_MS = 240_000;

export interface PythonPackage {
	readonly name: string;
	readonly version: string;
}

/** The environment's interpreter, or why there is none on this machine. */
export type Python =
	| { readonly status: 'here'; readonly interpreter: string }
	| { readonly status: 'missing'; readonly reason: string };

/** Installs a package, unless a run before has. On CI a machine that cannot have it is a failure. */
export function installPythonPackage(wanted: PythonPackage): Python {
	try {
		const version = execFileSync('python3', ['-c', 'import sys; print("%d.%d" % sys.version_info[:2])'], { encoding: 'utf8' });
		return { status: 'here', interpreter: join(environmentOf(wanted, version.trim()), 'bin', 'python') };
	} catch (error) {
		const why = error instanceof Error ? (error.message.trim().split('\n').at(-1) ?? error.message) : String(error);
		const reason = `${wanted.name} ${wanted.version} cannot be installed here: ${why}`;
		if (process.env['CI'] !== undefined) throw new Error(reason, { cause: error });
		return { status: 'missing', reason };
	}
}

/** The directory of the environment. It is put in place only once it is complete. */
function environmentOf({ name, version }: PythonPackage, pythonVersion: string): string {
	const cache = join(process.env['XDG_CACHE_HOME'] ?? join(homedir(), '.cache'), 'pulsar-relay-tests');
	const place = join(cache, `${name}-${version}-python${pythonVersion}`);
	if (existsSync(place)) return place;
	mkdirSync(cache, { recursive: true });
	const making = mkdtempSync(join(cache, 'making-'));
	try {
		const run = (file: string, ...args: string[]) =>
			execFileSync(file, args, { stdio: ['ignore', 'ignore', 'pipe'], timeout: INSTALL_TIMEOUT_MS });
		run('python3', '-m', 'venv', making);
		run(join(making, 'bin', 'python'), '-m', 'pip', 'install', '--quiet', `${name}==${version}`);
		renameSync(making, place);
	} catch (error) {
		rmSync(making, { recursive: true, force: true });
		// Another run was first.
		if (!existsSync(place)) throw error;
	}
	return place;
}
