/** The documents against the code: the error table, the settings they name, the files they link to. */

import assert from 'node:assert/strict';
import { existsSync, globSync, readFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { ERRORS } from '@pulsar-relay/protocol/errors';
import { isProviderVariable } from '../../src/config/providers.ts';
import { SETTINGS } from '../../src/config/schema.ts';

const ROOT = fileURLToPath(new URL('../../../..', import.meta.url));
const PAGES = globSync('**/*.md', { cwd: ROOT, exclude: ['**/node_modules', 'data', 'dist'] });
/** Variables that are read, but are no settings. */
const OTHER_VARIABLES = ['PULSAR_CONFIG_FILE'];

function read(page: string): string {
	return readFileSync(join(ROOT, page), 'utf8');
}

/** The text of a section, from its heading to the next one of its level. */
function sectionOf(page: string, heading: string): string {
	const [, text] = read(page).split(`\n${heading}\n`, 2);
	assert(text !== undefined, `${page} has a section ${heading}`);
	const level = heading.split(' ', 1)[0];
	return text.split(`\n${level} `, 1)[0] ?? '';
}

/** The anchors of a page's headings, as web views of Markdown make them. */
function anchorsIn(text: string): string[] {
	return [...text.matchAll(/^#+ (.+)$/gm)].map(([, title = '']) =>
		title
			.toLowerCase()
			.replace(/[^\p{L}\p{N} _-]/gu, '')
			.replaceAll(' ', '-'),
	);
}

test('the error table of PROTOCOL.md is that of the code, row by row', () => {
	const rows = [...sectionOf('PROTOCOL.md', '## Errors').matchAll(/^\| `(\w+)` \| (.*) \|$/gm)].map(([, code, cells = '']) => [
		code,
		...cells.split(' | ').map((cell) => cell.trim()),
	]);
	assert.deepEqual(
		rows,
		Object.entries(ERRORS).map(([code, { status, closeCode, retryable, meaning }]) => [
			code,
			String(status),
			String(closeCode ?? ''),
			retryable ? 'yes' : 'no',
			meaning,
		]),
	);
});

test('every setting that a document names exists', () => {
	const known = new Set<string>([...SETTINGS.map(({ env }) => env), ...OTHER_VARIABLES]);
	let named = 0;
	for (const page of PAGES) {
		for (const [name] of read(page)
			.replaceAll('<NAME>', 'NAME')
			.matchAll(/\bPULSAR_[A-Z0-9_]*[A-Z0-9]\b/g)) {
			named++;
			assert(known.has(name) || isProviderVariable(name), `${page} names ${name}, which is no setting`);
		}
	}
	assert(named > SETTINGS.length, `only ${named} names found`);
});

describe('every relative link leads to what is there', () => {
	for (const page of PAGES) {
		test(page, () => {
			const prose = read(page).replace(/^```[\s\S]*?^```/gm, '');
			for (const [link, target = '', anchor] of prose.matchAll(/\]\((?!\w+:)([^)\s#]*)(?:#([^)\s]+))?\)/g)) {
				const path = target === '' ? join(ROOT, page) : resolve(ROOT, dirname(page), target);
				assert(existsSync(path), `${page}: ${link} leads to nothing`);
				if (anchor !== undefined)
					assert(anchorsIn(readFileSync(path, 'utf8')).includes(anchor), `${page}: ${link} has no such heading`);
			}
		});
	}
});
