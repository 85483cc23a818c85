/** The configuration file: which one is read, and what is in it. */

import { parse as parseToml } from 'smol-toml';
import { parse as parseYaml } from 'yaml';
import { masked } from './masked.ts';

/** Reads a whole file as text; throws as `node:fs` does, with the code `ENOENT` when there is no such file. */
export type ReadFile = (path: string) => string;

/** The keys of the file that is in force; null = there is no file. */
export type ReadConfigFile =
	| { readonly status: 'ok'; readonly path: string | null; readonly entries: readonly (readonly [key: string, value: unknown])[] }
	| { readonly status: 'wrong'; readonly problem: string };

/** Where a file is looked for when none is named; the first that exists is read, and only that one. */
export const CONFIG_FILES = [
	'config.toml',
	'config.yaml',
	'config.yml',
	'/etc/pulsar-relay/config.toml',
	'/etc/pulsar-relay/config.yaml',
] as const;

/**
 * Reads the file that `named` names, or the first of {@link CONFIG_FILES}. A named file must exist; any file that is read must be
 * a good one, because running on defaults that the operator believes to have changed is worse than not starting.
 */
export function readConfigFile(named: string | undefined, readFile: ReadFile): ReadConfigFile {
	for (const path of named === undefined ? CONFIG_FILES : [named]) {
		let text: string;
		try {
			text = readFile(path);
		} catch (error) {
			if (!isMissing(error)) return { status: 'wrong', problem: `${masked(path)}: cannot be read: ${firstLine(error)}` };
			if (named !== undefined) return { status: 'wrong', problem: `${masked(path)}: there is no such file` };
			continue;
		}
		return parseFile(path, text);
	}
	return { status: 'ok', path: null, entries: [] };
}

function parseFile(path: string, text: string): ReadConfigFile {
	let content: unknown;
	try {
		if (/\.toml$/i.test(path)) content = parseToml(text);
		else if (/\.ya?ml$/i.test(path)) content = parseYaml(text, { logLevel: 'error' });
		else return { status: 'wrong', problem: `${path}: the name must end in .toml, .yaml or .yml` };
	} catch (error) {
		return { status: 'wrong', problem: `${path}: ${withoutQuotation(firstLine(error))}` };
	}
	if (content === null) return { status: 'ok', path, entries: [] };
	if (typeof content !== 'object' || Array.isArray(content)) {
		return { status: 'wrong', problem: `${path}: holds no settings of the form key: value` };
	}
	return { status: 'ok', path, entries: Object.entries(content).flatMap(([key, value]) => flattened(key, value)) };
}

/** The settings of sign-in may stand in tables of their own; their keys are then those of the tables, joined. */
function flattened(key: string, value: unknown): (readonly [key: string, value: unknown])[] {
	const isTable = typeof value === 'object' && value !== null && !Array.isArray(value) && !(value instanceof Date);
	if (!isTable || !/^oidc(?:__|$)/.test(key)) return [[key, value]];
	return Object.entries(value).flatMap(([name, inner]) => flattened(`${key}__${name}`, inner));
}

function isMissing(error: unknown): boolean {
	return error instanceof Error && 'code' in error && error.code === 'ENOENT';
}

/** The YAML parser quotes the file at the end of some messages, and that may be a secret. */
function withoutQuotation(message: string): string {
	return message.startsWith('Invalid TOML document: ') ? message : message.replace(/: .*?( at line \d+, column \d+)?$/, '$1');
}

/** Both parsers put a picture of the place below the first line; the TOML one also keeps the line number there. */
function firstLine(error: unknown): string {
	const message = error instanceof Error ? error.message : String(error);
	const line = error instanceof Error && 'line' in error && typeof error.line === 'number' ? ` at line ${error.line}` : '';
	return `${message.split('\n', 1)[0]?.replace(/:$/, '')}${line}`;
}
