/** Secrets that are read from files. */

import type { ReadFile } from './file.ts';
import { masked } from './masked.ts';
import type { Setting } from './schema.ts';

/** A secret from a file, or what is wrong: a clause that goes on after the setting's name, without a full stop. */
type ReadSecret = { readonly status: 'ok'; readonly value: string } | { readonly status: 'wrong'; readonly problem: string };

/** A longer file is another one than was meant. */
const LENGTH_MAX = 64 * 1024;

export interface SecretFile {
	/** The path, as it was given. */
	readonly file: unknown;
	/** What the secret itself was given as, when it was; null = it was not. */
	readonly givenAs: string | null;
	readonly readFile: ReadFile;
}

/** Reads a secret from its file, without the line feed at the end. Nothing of what the file holds is in a problem. */
export function readSecretFile(setting: Setting, { file, givenAs, readFile }: SecretFile): ReadSecret {
	if (typeof file !== 'string' || file.trim() === '') return wrong('is not the path of a file');
	if (givenAs !== null) return wrong(`${givenAs} is set, too; keep one of them`);
	const path = file.trim();
	let value: string;
	try {
		value = readFile(path).replace(/\r?\n$/, '');
	} catch (error) {
		const code = error instanceof Error && 'code' in error ? String(error.code) : 'unknown';
		return wrong(`${masked(path)} cannot be read (${code})${adviceFor(code)}`);
	}
	if (value.length > LENGTH_MAX) return wrong(`${masked(path)} is no secret: it has more than ${LENGTH_MAX} characters`);
	if (value.trim() === '') return wrong(`${masked(path)} is empty; write the secret into it`);
	if (setting.type !== 'string' || setting.form === undefined) return { status: 'ok', value };
	if (setting.form.pattern.test(value.trim())) return { status: 'ok', value: value.trim() };
	return wrong(`what ${masked(path)} holds is not ${setting.form.words}`);
}

function adviceFor(code: string): string {
	switch (code) {
		case 'ENOENT':
			return '; there is no such file';
		case 'EACCES':
		case 'EPERM':
			return '; let the user that the relay runs as read it';
		case 'EISDIR':
			return '; it is a directory, name a file in it';
		default:
			return '';
	}
}

function wrong(problem: string): ReadSecret {
	return { status: 'wrong', problem };
}
