/** Secrets: each may be in a file, and none is in any message, also where it does not belong. */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { loadConfig } from '../../../src/config/load.ts';
import { helpText, referencePage } from '../../../src/config/render.ts';
import { PROVIDER_SETTINGS, SETTINGS, type Setting } from '../../../src/config/schema.ts';

const PLANTED = 'planted-hunter2-of-more-than-32-characters';
const PROVIDER = 'PULSAR_OIDC__PROVIDERS__KEYCLOAK__';

interface Given {
	readonly argv?: readonly string[];
	readonly env?: Readonly<Record<string, string>>;
	/** A file that cannot be read has the code of the error. */
	readonly files?: Readonly<Record<string, string | { readonly code: string }>>;
}

function load({ argv = [], env = {}, files = {} }: Given) {
	const readFile = (path: string) => {
		const file = files[path] ?? { code: 'ENOENT' };
		if (typeof file === 'string') return file;
		throw Object.assign(new Error(`${file.code}: ${path}`), { code: file.code });
	};
	const loaded = loadConfig({ argv, env, readFile });
	const said = loaded.status === 'invalid' ? loaded.problems : loaded.status === 'ok' ? loaded.warnings : [];
	assert(!said.join('\n').includes('hunter2'), said.join('\n'));
	return loaded;
}

function problems(given: Given): readonly string[] {
	const loaded = load(given);
	assert(loaded.status === 'invalid', JSON.stringify(loaded));
	return loaded.problems;
}

const SECRETS = SETTINGS.filter(({ secret }) => secret === true);

test('there are secrets among the settings, and each has a setting for its file', () => {
	const names = SECRETS.map(({ env }) => env);
	for (const name of [
		'PULSAR_JWT_SECRET_KEY',
		'PULSAR_BOOTSTRAP_ADMIN_PASSWORD',
		'PULSAR_VALKEY_PASSWORD',
		'PULSAR_IMPORT_SOURCE',
	]) {
		assert(names.includes(name as `PULSAR_${string}`), name);
	}
	for (const { env } of [...SECRETS, ...(PROVIDER_SETTINGS as readonly Setting[]).filter(({ secret }) => secret === true)]) {
		assert(referencePage().includes(`| \`${env}_FILE\` |`), env);
	}
	for (const { env } of SECRETS) {
		assert(helpText().includes(`\n  --${env.slice('PULSAR_'.length).toLowerCase().replaceAll('_', '-')}-file <text>\n`), env);
	}
});

for (const { key, env } of SECRETS) {
	const value = key === 'importSource' ? `valkey://user:${PLANTED}@host:6379` : PLANTED;
	const admin = key === 'bootstrapAdminPassword' ? { PULSAR_BOOTSTRAP_ADMIN_USERNAME: 'root' } : {};

	test(`${env} may be in a file, without the line end, by variable, flag and key in a file`, () => {
		const flag = `--${env.slice('PULSAR_'.length).toLowerCase().replaceAll('_', '-')}-file`;
		for (const text of [value, `${value}\n`, `${value}\r\n`]) {
			for (const given of [
				{ env: { ...admin, [`${env}_FILE`]: '/run/secrets/s' } },
				{ argv: [flag, '/run/secrets/s'], env: admin },
				{ env: admin, files: { 'config.toml': `${env.slice('PULSAR_'.length).toLowerCase()}_file = "/run/secrets/s"\n` } },
			] as readonly Given[]) {
				const loaded = load({ ...given, files: { ...given.files, '/run/secrets/s': text } });
				assert(loaded.status === 'ok', JSON.stringify(loaded));
				assert.equal(Reflect.get(loaded.config, key), value);
			}
		}
	});

	test(`a file of ${env} that is of no use is a problem that says what to do`, () => {
		const named = { ...admin, [`${env}_FILE`]: 's' };
		// What an account lacks without the secret is said after it.
		const file = (text: string | { readonly code: string }) => problems({ env: named, files: { s: text } }).slice(0, 1);
		assert.deepEqual(file({ code: 'ENOENT' }), [`${env}_FILE: s cannot be read (ENOENT); there is no such file`]);
		assert.deepEqual(file({ code: 'EACCES' }), [
			`${env}_FILE: s cannot be read (EACCES); let the user that the relay runs as read it`,
		]);
		assert.deepEqual(file({ code: 'EISDIR' }), [`${env}_FILE: s cannot be read (EISDIR); it is a directory, name a file in it`]);
		assert.deepEqual(file('x'.repeat(100_000)), [`${env}_FILE: s is no secret: it has more than 65536 characters`]);
		for (const empty of ['', '\n', ' \n\n']) assert.deepEqual(file(empty), [`${env}_FILE: s is empty; write the secret into it`]);
		assert.deepEqual(problems({ env: { ...named, [env]: value }, files: { s: value } }), [
			`${env}_FILE: ${env} is set, too; keep one of them`,
		]);
	});
}

test('a secret with blanks and lines in it is taken as it is, and one that has a form is checked', () => {
	const loaded = load({ env: { PULSAR_VALKEY_PASSWORD_FILE: 's' }, files: { s: ' two\nlines \n' } });
	assert(loaded.status === 'ok');
	assert.equal(loaded.config.valkeyPassword, ' two\nlines ');
	assert.deepEqual(problems({ env: { PULSAR_IMPORT_SOURCE_FILE: 's' }, files: { s: 'http://hunter2' } }), [
		'PULSAR_IMPORT_SOURCE_FILE: what s holds is not valkey://user:password@host:port, or valkeys:// with TLS',
	]);
});

test('a signing secret in a file means accounts, as one in the variable does', () => {
	const loaded = load({ env: { PULSAR_JWT_SECRET_KEY_FILE: 's' }, files: { s: PLANTED } });
	assert(loaded.status === 'ok');
	assert.equal(loaded.config.auth, 'required');
});

test('the secret of a sign-in provider may be in a file', () => {
	const env = {
		PULSAR_AUTH: 'required',
		PULSAR_OIDC__ENABLED: 'true',
		PULSAR_OIDC__BASE_URL: 'http://localhost:8080',
		PULSAR_JWT_SECRET_KEY: PLANTED,
		[`${PROVIDER}CLIENT_ID`]: 'relay',
		[`${PROVIDER}DISCOVERY_URL`]: 'https://idp.example.org/.well-known/openid-configuration',
		[`${PROVIDER}CLIENT_SECRET_FILE`]: 's',
	};
	const loaded = load({ env, files: { s: 'hunter2\n' } });
	assert(loaded.status === 'ok', JSON.stringify(loaded));
	assert.equal(loaded.config.oidcProviders[0]?.clientSecret, 'hunter2');
	const both = problems({ env: { ...env, [`${PROVIDER}CLIENT_SECRET`]: 'hunter2' }, files: { s: 'hunter2' } });
	assert.deepEqual(both.slice(0, 1), [`${PROVIDER}CLIENT_SECRET_FILE: ${PROVIDER}CLIENT_SECRET is set, too; keep one of them`]);
});

const PATHS = ['PULSAR_DATA_DIR', 'PULSAR_TLS_CERT', 'PULSAR_TLS_KEY', 'PULSAR_TLS_CLIENT_CA', 'PULSAR_VALKEY_CA_PATH'];

const MISPLACED: readonly Given[] = [
	...[
		'redis://user:hunter2@valkey:6379',
		'user:hunter2@valkey',
		'redis://:hunter2@valkey',
		'redis://valkey?password=hunter2',
	].flatMap((url) => [
		{ env: { PULSAR_VALKEY_HOST: url } },
		{ argv: ['--valkey-host', url] },
		{ files: { 'config.yaml': `valkey_host: "${url}"\n` } },
		{ env: { PULSAR_VALKEY_ADDRESSES: JSON.stringify([`${url}:6379`]) } },
		{ env: { PULSAR_VALKEY_ADDRESSES: url } },
		{ env: { PULSAR_HOST: url } },
		{ env: { PULSAR_VALKEY_PORT: url } },
		{ env: { PULSAR_DURABILITY: url } },
		{ env: { PULSAR_STORAGE_BACKEND: url } },
		{ env: { PULSAR_TRUSTED_HOSTS: JSON.stringify([url]) } },
		{ env: { PULSAR_TRUSTED_PROXIES: JSON.stringify([url]) } },
		{ env: { PULSAR_CONFIG_FILE: url } },
		...(url.includes('://') ? PATHS.map((env) => ({ env: { [env]: url } })) : []),
	]),
	{ env: { PULSAR_ALLOWED_ORIGINS: '["https://user:hunter2@app.example.org"]' } },
	{ env: { PULSAR_OIDC__BASE_URL: 'https://:hunter2@relay.example.org' } },
	{ argv: ['--valkey-password', '-hunter2'] },
	{ argv: ['--valkey-password', 'a', 'hunter2'] },
	{ argv: ['--valkey-pasword', '-hunter2'] },
	{ argv: ['--valkey-pasword=hunter2'] },
	{ argv: ['redis://:hunter2@valkey'] },
	{ files: { 'config.yaml': 'valkey_password: *hunter2\n' } },
	{ files: { 'config.yaml': 'valkey_password: |hunter2\n' } },
	{ files: { 'config.yaml': 'valkey_password: "a" hunter2\n' } },
	{ files: { 'config.toml': 'valkey_password = hunter2\n' } },
	{ files: { 'config.toml': 'valkey_password = "a"\nvalkey_password = "hunter2"\n' } },
	{ env: { PULSAR_VALKEY_PASSWORD_FILE: 'redis://:hunter2@valkey' } },
];

for (const given of MISPLACED) {
	test(`no secret in what is said about ${JSON.stringify(given)}`, () => {
		problems(given);
	});
}
