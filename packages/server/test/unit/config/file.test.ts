/** The configuration file: which one is read, its two languages, and what is said about a bad one. */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CONFIG_FILES, readConfigFile } from '../../../src/config/file.ts';
import { loadConfig } from '../../../src/config/load.ts';

function reader(files: Record<string, string>, read: string[] = []) {
	return (path: string) => {
		const text = files[path];
		if (text === undefined) throw Object.assign(new Error(`ENOENT: ${path}`), { code: 'ENOENT' });
		read.push(path);
		return text;
	};
}

test('without a name the first of the known places is read, and only that one', () => {
	for (let first = 0; first < CONFIG_FILES.length; first++) {
		const read: string[] = [];
		const places = CONFIG_FILES.slice(first);
		const file = readConfigFile(undefined, reader(Object.fromEntries(places.map((path) => [path, ''])), read));
		assert.deepEqual(file, { status: 'ok', path: CONFIG_FILES[first], entries: [] });
		assert.deepEqual(read, [CONFIG_FILES[first]]);
	}
	assert.deepEqual(readConfigFile(undefined, reader({})), { status: 'ok', path: null, entries: [] });
});

test('a named file is read instead of the known places; the flag names it over the variable', () => {
	const readFile = reader({ 'config.toml': 'port = 1', 'a.yml': 'port: 2', 'b.TOML': 'port = 3' });
	const port = (argv: string[], env: Record<string, string>) => {
		const loaded = loadConfig({ argv, env, readFile });
		return loaded.status === 'ok' ? loaded.config.port : loaded;
	};
	assert.equal(port([], {}), 1);
	assert.equal(port([], { PULSAR_CONFIG_FILE: 'a.yml' }), 2);
	assert.equal(port(['--config', 'b.TOML'], { PULSAR_CONFIG_FILE: 'a.yml' }), 3);
	assert.equal(port(['--config=b.TOML'], { pulsar_config_file: 'missing.yml' }), 3);
});

test('YAML and TOML hold the same settings in their own types or as text', () => {
	const files = {
		'a.yaml': '# ours\nhost: localhost\nport: 9000\nmax_topics: "7"\nlog_level: DEBUG\nmax_body_bytes:\n',
		'a.toml': '# ours\nhost = "localhost"\nport = 9_000\nmax_topics = "7"\nlog_level = "DEBUG"\n',
	};
	const [yaml, toml] = Object.keys(files).map((path) => {
		return loadConfig({ argv: ['--config', path], env: {}, readFile: reader(files) });
	});
	assert.deepEqual(yaml, toml);
	assert.ok(yaml?.status === 'ok');
	const { host, port, maxTopics, logLevel, maxBodyBytes } = yaml.config;
	assert.deepEqual([host, port, maxTopics, logLevel, maxBodyBytes], ['localhost', 9000, 7, 'debug', 33_554_432]);
});

const BAD_FILES: readonly (readonly [title: string, path: string, text: string | undefined, problem: RegExp])[] = [
	['is missing', 'none.toml', undefined, /^none\.toml: there is no such file$/],
	['is broken TOML', 'a.toml', 'port = 1\nhost =\n', /^a\.toml: Invalid TOML document: .* at line 2$/],
	[
		'has a TOML number that is too large',
		'a.toml',
		'port = 9007199254740993',
		/^a\.toml: Invalid TOML document: .*losslessly at line 1$/,
	],
	['is broken YAML', 'a.yaml', 'port: [1\nhost: x\n', /^a\.yaml: .* at line 2, column 1$/],
	['says a YAML key twice', 'a.yaml', 'port: 1\nport: 2\n', /^a\.yaml: Map keys must be unique at line 2, column 1$/],
	['is a YAML list', 'a.yaml', '- port\n', /^a\.yaml: holds no settings of the form key: value$/],
	['is a YAML text', 'a.yaml', 'port\n', /^a\.yaml: holds no settings of the form key: value$/],
	['is in another language', 'a.json', '{}', /^a\.json: the name must end in \.toml, \.yaml or \.yml$/],
];

for (const [title, path, text, problem] of BAD_FILES) {
	test(`a file that ${title} is one problem, beside the others`, () => {
		const env = { PULSAR_CONFIG_FILE: path, PULSAR_PORT: 'x' };
		const loaded = loadConfig({ argv: [], env, readFile: reader(text === undefined ? {} : { [path]: text }) });
		assert.ok(loaded.status === 'invalid');
		assert.match(loaded.problems[0] ?? '', problem);
		assert.match(loaded.problems[1] ?? '', /^PULSAR_PORT: /);
		assert.equal(loaded.problems.length, 2);
	});
}

test('a value that contains itself, or is a date, is a wrong value like any other', () => {
	const files = { 'config.yaml': 'port: &a [*a]\nmax_topics: &b {b: *b}\n', 'dates.toml': 'port = 2026-01-01\n' };
	assert.deepEqual(loadConfig({ argv: [], env: {}, readFile: reader(files) }), {
		status: 'invalid',
		problems: [
			'port in config.yaml: a list is not a whole number from 0 to 65535',
			'max_topics in config.yaml: a table is not a whole number from 1 to 10000000',
		],
	});
	assert.deepEqual(loadConfig({ argv: ['--config=dates.toml'], env: {}, readFile: reader(files) }), {
		status: 'invalid',
		problems: ['port in dates.toml: a date is not a whole number from 0 to 65535'],
	});
});

test('a file that was not named but is broken, or cannot be read, is a problem too', () => {
	const broken = readConfigFile(undefined, reader({ 'config.yml': '[' }));
	assert.equal(broken.status, 'wrong');
	const unreadable = readConfigFile(undefined, () => {
		throw Object.assign(new Error('EACCES: permission denied'), { code: 'EACCES' });
	});
	assert.deepEqual(unreadable, { status: 'wrong', problem: 'config.toml: cannot be read: EACCES: permission denied' });
});
