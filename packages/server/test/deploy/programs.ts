/** Programs of the machine that tests run, and what becomes of the tests where they are missing. */

import type { ChildProcess } from 'node:child_process';
import { accessSync, constants } from 'node:fs';
import { delimiter, join } from 'node:path';

/** Why tests that run programs of a Debian package are to be skipped, or false. Never on CI, where they fail instead. */
export function missing(programs: readonly string[], packageName: string): string | false {
	const absent = programs.filter((name) => !isOnPath(name));
	if (absent.length === 0 || process.env['CI'] !== undefined) return false;
	return `no ${absent.join(' and no ')} on this machine (apt-get install ${packageName})`;
}

/** Sees to it that a program does not outlive this process, also when the test ends early. */
export function endWithThisProcess(child: ChildProcess): void {
	const kill = () => child.kill('SIGKILL');
	process.on('exit', kill);
	child.once('exit', () => process.off('exit', kill));
}

function isOnPath(name: string): boolean {
	return (process.env['PATH'] ?? '').split(delimiter).some((directory) => {
		try {
			accessSync(join(directory, name), constants.X_OK);
			return true;
		} catch {
			// Not there, or not to be run: the same to whoever skips.
			return false;
		}
	});
}
