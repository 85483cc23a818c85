/** The table itself, and what is made of it for people. */

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { loadConfig } from '../../../src/config/load.ts';
import { helpText, referencePage } from '../../../src/config/render.ts';
import { fileKeyOf, flagOf, SETTINGS } from '../../../src/config/schema.ts';
import { readValue } from '../../../src/config/values.ts';

const REFERENCE = new URL('../../../../../docs/reference/config.md', import.meta.url);

test('every setting has its own key, variable, flag and key in a file', () => {
	for (const name of [flagOf, fileKeyOf, ({ key }: { key: string }) => key, ({ env }: { env: string }) => env]) {
		assert.equal(new Set(SETTINGS.map(name)).size, SETTINGS.length);
	}
});

test('every default is a value that the setting itself accepts', () => {
	for (const setting of SETTINGS) {
		// Null stands for no value at all.
		if (setting.default === null) continue;
		assert.deepEqual(readValue(setting, setting.default), { status: 'ok', value: setting.default }, setting.key);
	}
});

test('the unit ends the key of every number that has one', () => {
	for (const setting of SETTINGS) {
		const unit = setting.type === 'int' ? setting.unit : undefined;
		assert.equal(/[a-z]S$/.test(setting.key), unit === 's', setting.key);
		assert.equal(setting.key.endsWith('Bytes'), unit === 'bytes', setting.key);
	}
});

test('the help names every flag with its default, in lines that fit a terminal', () => {
	const loaded = loadConfig({ argv: ['--help'], env: {}, readFile: () => '' });
	assert.ok(loaded.status === 'help');
	assert.equal(loaded.text, helpText());
	for (const setting of SETTINGS) {
		const value = setting.type === 'bool' ? '\n' : ' <';
		const start = loaded.text.indexOf(`\n  ${flagOf(setting)}${value}`);
		assert.ok(start > 0, setting.key);
		const entry: string = loaded.text.slice(start).split(/\n {2}(?=--)|\n\n/)[1] ?? '';
		const shown = setting.type === 'list' ? JSON.stringify(setting.default) : (setting.default ?? 'none');
		assert.ok(entry.includes(`default ${shown}`), entry);
	}
	for (const flag of ['--help', '-h', '--version', '-v', '--config']) assert.ok(loaded.text.includes(flag), flag);
	for (const line of loaded.text.split('\n')) assert.ok(line.length <= 120, line);
});

test('the reference page has a row for every setting', () => {
	const page = referencePage();
	for (const setting of SETTINGS) {
		assert.ok(page.includes(`\n| \`${setting.env}\` | \`${flagOf(setting)}\` | \`${fileKeyOf(setting)}\` | `), setting.key);
	}
});

test('docs/reference/config.md is in sync with the table', () => {
	assert.equal(readFileSync(REFERENCE, 'utf8'), referencePage());
});
