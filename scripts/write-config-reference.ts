/**
 * Writes docs/reference/config.md from the table of settings. With `--check` it writes nothing and fails when the page is not
 * what it would write.
 */

import { readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { referencePage } from '../packages/server/src/config/render.ts';

const path = fileURLToPath(new URL('../docs/reference/config.md', import.meta.url));
const page = referencePage();

if (process.argv.includes('--check')) {
	if (readFileSync(path, 'utf8') !== page) {
		console.error('docs/reference/config.md is not in sync with packages/server/src/config/schema.ts; run `npm run docs`');
		process.exitCode = 1;
	}
} else {
	writeFileSync(path, page);
}
