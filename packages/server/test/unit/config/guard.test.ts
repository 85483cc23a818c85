/** The guard at the start: what is refused beyond loopback, that all of it is told at once, and that no secret is in any line. */

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { loadConfig } from '../../../src/config/load.ts';

const SECRET = 'a-secret-of-the-tests-of-more-than-32-characters';
const COMPLETE = {
	PULSAR_HOST: '0.0.0.0',
	PULSAR_AUTH: 'required',
	PULSAR_JWT_SECRET_KEY: SECRET,
	PULSAR_BOOTSTRAP_ADMIN_USERNAME: 'root',
	PULSAR_BOOTSTRAP_ADMIN_PASSWORD: 'planted password',
	PULSAR_ALLOWED_ORIGINS: '["https://example.org"]',
	PULSAR_TRUSTED_HOSTS: '["example.org"]',
};

function load(env: Record<string, string | undefined>) {
	const result = loadConfig({
		argv: [],
		env,
		readFile: () => {
			throw Object.assign(new Error('no such file'), { code: 'ENOENT' });
		},
	});
	for (const secret of [SECRET, 'planted password', 'short secret']) {
		const told = result.status === 'ok' ? result.warnings : result.status === 'invalid' ? result.problems : [];
		assert(!told.some((line) => line.includes(secret)), 'no secret in what is told');
	}
	return result;
}

function problems(env: Record<string, string | undefined>): readonly string[] {
	const result = load(env);
	return result.status === 'invalid' ? result.problems : [];
}

test('beyond loopback everything that is missing is told at once', () => {
	assert.deepEqual(problems({ PULSAR_HOST: '0.0.0.0', PULSAR_AUTH: 'required' }), [
		'PULSAR_JWT_SECRET_KEY: is not set; make one with `openssl rand -hex 32`',
		'PULSAR_BOOTSTRAP_ADMIN_USERNAME: is not set; beyond loopback an administrator is required',
		'PULSAR_BOOTSTRAP_ADMIN_PASSWORD: is not set; beyond loopback an administrator is required',
		'PULSAR_ALLOWED_ORIGINS: is empty; give the origins of the pages that use the relay',
		'PULSAR_TRUSTED_HOSTS: is empty; give the host names under which the relay is reached',
	]);
	const loaded = load(COMPLETE);
	assert(loaded.status === 'ok', JSON.stringify(loaded));
	assert.deepEqual(loaded.warnings, []);
});

describe('beyond loopback each of these alone is refused, and only said where insecure defaults are allowed', () => {
	for (const [title, change, problem] of [
		['no secret', { PULSAR_JWT_SECRET_KEY: '' }, /^PULSAR_JWT_SECRET_KEY: is not set/],
		['a short secret', { PULSAR_JWT_SECRET_KEY: 'short secret' }, /^PULSAR_JWT_SECRET_KEY: has 12 characters/],
		[
			'the well-known secret',
			{ PULSAR_JWT_SECRET_KEY: 'your-secret-key-here-change-in-production' },
			/^PULSAR_JWT_SECRET_KEY: is the well-known example/,
		],
		['no origins', { PULSAR_ALLOWED_ORIGINS: '[]' }, /^PULSAR_ALLOWED_ORIGINS/],
		['no hosts', { PULSAR_TRUSTED_HOSTS: '' }, /^PULSAR_TRUSTED_HOSTS/],
		[
			'no administrator',
			{ PULSAR_BOOTSTRAP_ADMIN_USERNAME: '', PULSAR_BOOTSTRAP_ADMIN_PASSWORD: '' },
			/^PULSAR_BOOTSTRAP_ADMIN_USERNAME: is not set/,
		],
		['no password of Valkey', { PULSAR_STORAGE_BACKEND: 'valkey' }, /^PULSAR_VALKEY_PASSWORD: is not set/],
	] as const) {
		test(title, () => {
			const [first] = problems({ ...COMPLETE, ...change });
			assert.match(first ?? '', problem);
			const allowed = load({ ...COMPLETE, ...change, PULSAR_ALLOW_INSECURE_DEFAULTS: '1' });
			assert(allowed.status === 'ok', JSON.stringify(allowed));
			assert(
				allowed.warnings.some((line) => problem.test(line)),
				allowed.warnings.join('\n'),
			);
		});
	}
});

describe('an administrator that could not be made or not sign in is refused everywhere', () => {
	for (const [title, username, password, problem] of [
		['a password without a name', '', 'planted password', /ADMIN_USERNAME: is not set/],
		['a name without a password', 'root', '', /ADMIN_PASSWORD: is not set/],
		['a short name', 'ab', 'planted password', /ADMIN_USERNAME: must have 3 to 50/],
		['a short password', 'root', 'short', /ADMIN_PASSWORD: must have 8 to 1024/],
	] as const) {
		test(title, () => {
			for (const host of ['127.0.0.1', '0.0.0.0']) {
				const given = { PULSAR_BOOTSTRAP_ADMIN_USERNAME: username, PULSAR_BOOTSTRAP_ADMIN_PASSWORD: password };
				const env = { ...COMPLETE, ...given, PULSAR_HOST: host, PULSAR_ALLOW_INSECURE_DEFAULTS: '1' };
				assert.match(problems(env).join('\n'), problem);
			}
		});
	}
});

test('on loopback nothing needs to be set, but a secret of the process is told', () => {
	const loaded = load({ PULSAR_AUTH: 'required' });
	assert(loaded.status === 'ok');
	assert.match(loaded.warnings.join('\n'), /^PULSAR_JWT_SECRET_KEY is not set: this process made a secret of its own/);
});

test('nodes that share a Valkey server must share a secret, wherever they listen', () => {
	const env = { PULSAR_AUTH: 'required', PULSAR_STORAGE_BACKEND: 'valkey', PULSAR_ALLOW_INSECURE_DEFAULTS: '1' };
	assert.match(problems(env).join('\n'), /^PULSAR_JWT_SECRET_KEY: is not set, and the nodes/);
});

test('who sets a secret to sign in with means it: then credentials are asked for, unless open mode is said', () => {
	for (const given of [
		{ PULSAR_JWT_SECRET_KEY: SECRET },
		{ PULSAR_BOOTSTRAP_ADMIN_USERNAME: 'root', PULSAR_BOOTSTRAP_ADMIN_PASSWORD: 'planted password' },
	]) {
		const loaded = load(given);
		assert(loaded.status === 'ok' && loaded.config.auth === 'required');
		const open = load({ ...given, PULSAR_AUTH: 'open' });
		assert(open.status === 'ok' && open.config.auth === 'open');
	}
});

test('the settings of the harness of existing clients start', () => {
	const loaded = load({
		PULSAR_HOST: '0.0.0.0',
		PULSAR_STORAGE_BACKEND: 'valkey',
		PULSAR_VALKEY_PASSWORD: 'x',
		PULSAR_JWT_SECRET_KEY: 'short secret',
		PULSAR_BOOTSTRAP_ADMIN_USERNAME: 'admin',
		PULSAR_BOOTSTRAP_ADMIN_PASSWORD: 'planted password',
		PULSAR_ALLOWED_ORIGINS: '["*"]',
		PULSAR_TRUSTED_HOSTS: '["*"]',
		PULSAR_ALLOW_INSECURE_DEFAULTS: '1',
	});
	assert(loaded.status === 'ok' && loaded.config.auth === 'required', JSON.stringify(loaded));
});
