/** The scripts, each run as one step of the server, by its digest. */

import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';

export interface Script {
	readonly name: string;
	readonly source: string;
	/** What EVALSHA takes. */
	readonly sha: string;
}

const STANDING = 'standing';

function load(name: string, standing: boolean): Script {
	const source = (standing ? textOf(STANDING) : '') + textOf(name);
	return { name, source, sha: createHash('sha1').update(source).digest('hex') };
}

function textOf(name: string): string {
	return readFileSync(new URL(`./scripts/${name}.lua`, import.meta.url), 'utf8');
}

export const SCRIPTS = {
	append: load('append', true),
	confirm: load('confirm', true),
	position: load('position', true),
	read: load('read', true),
	trim: load('trim', true),
	topic: load('topic', true),
	delete: load('delete', true),
	register: load('register', false),
	unregister: load('unregister', false),
	forgetKeys: load('forget-keys', false),
	forgetEnd: load('forget-end', false),
	spend: load('spend', false),
	reserve: load('reserve', false),
	writeRecords: load('records-write', false),
	purgeRecords: load('records-purge', false),
} as const satisfies Record<string, Script>;

/** Sources by digest, for a server that does not know one. */
export const SOURCES: ReadonlyMap<string, string> = new Map(Object.values(SCRIPTS).map(({ sha, source }) => [sha, source]));
