/** The variables of pulsar-relay 0.2, each with a value that server took: they work, or are answered with what there is instead. */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { EARLIER_NAMES } from '../../../src/config/earlier-names.ts';
import { loadConfig } from '../../../src/config/load.ts';

const EARLIER: Readonly<Record<string, string>> = {
	PULSAR_APP_NAME: 'Our relay',
	PULSAR_STORAGE_BACKEND: 'valkey',
	PULSAR_VALKEY_HOST: 'valkey',
	PULSAR_VALKEY_PORT: '6380',
	PULSAR_VALKEY_USE_TLS: 'yes',
	PULSAR_VALKEY_USERNAME: 'relay',
	PULSAR_VALKEY_PASSWORD: 'a-password',
	PULSAR_VALKEY_CA_PATH: '/etc/ca.pem',
	PULSAR_PERSISTENT_TIER_RETENTION: '86400',
	PULSAR_MAX_MESSAGES_PER_TOPIC: '1000000',
	PULSAR_LOG_LEVEL: 'WARNING',
	PULSAR_JWT_SECRET_KEY: 'a-secret-of-at-least-32-characters',
	PULSAR_ALLOW_INSECURE_DEFAULTS: '1',
	PULSAR_ALLOWED_ORIGINS: '["*"]',
	PULSAR_TRUSTED_HOSTS: '["*"]',
	PULSAR_WS_MAX_PER_USER: '10',
	PULSAR_WS_IDLE_SECONDS: '60',
	PULSAR_MAX_BODY_BYTES: '1048576',
	PULSAR_ACCESS_TOKEN_EXPIRE_MINUTES: '10',
	PULSAR_REFRESH_TOKEN_TTL_DAYS: '90',
	PULSAR_DEVICE_CODE_TTL_SECONDS: '600',
	PULSAR_DEVICE_CODE_POLL_INTERVAL: '5',
	PULSAR_OIDC__ENABLED: 'true',
	PULSAR_OIDC__BASE_URL: 'https://relay.example.org',
	PULSAR_OIDC__DEFAULT_PERMISSIONS: '["read", "write"]',
	PULSAR_OIDC__STATE_TTL_SECONDS: '600',
	PULSAR_OIDC__PROVIDERS__KEYCLOAK__DISPLAY_NAME: 'Keycloak',
	PULSAR_OIDC__PROVIDERS__KEYCLOAK__CLIENT_ID: 'relay',
	PULSAR_OIDC__PROVIDERS__KEYCLOAK__CLIENT_SECRET: 'a-secret',
	PULSAR_OIDC__PROVIDERS__KEYCLOAK__SCOPES: '["openid", "email"]',
	PULSAR_OIDC__PROVIDERS__KEYCLOAK__DISCOVERY_URL: 'https://id.example.org/.well-known/openid-configuration',
	PULSAR_OIDC__PROVIDERS__KEYCLOAK__CLAIM_USERNAME: 'email',
	PULSAR_BOOTSTRAP_ADMIN_USERNAME: 'admin',
	PULSAR_BOOTSTRAP_ADMIN_PASSWORD: 'a-password',
	PULSAR_BOOTSTRAP_ADMIN_EMAIL: 'admin@example.org',
	PULSAR_RATE_LIMIT_STORAGE_URI: 'memory://',
};

const load = (env: Readonly<Record<string, string>>, files: Readonly<Record<string, string>> = {}) =>
	loadConfig({
		argv: [],
		env,
		readFile: (path) => files[path] ?? assert.fail(Object.assign(new Error(`no ${path}`), { code: 'ENOENT' })),
	});

test('each works, or is answered with what there is instead', () => {
	const loaded = load(EARLIER);
	assert(loaded.status === 'ok', JSON.stringify(loaded));
	const { config, warnings } = loaded;
	assert.equal(config.auth, 'required', 'accounts were not asked for by a setting');
	assert.deepEqual([config.valkeyHost, config.valkeyPort, config.valkeyUseTls], ['valkey', 6380, true]);
	assert.deepEqual([config.logLevel, config.maxBodyBytes, config.allowedOrigins], ['warning', 1_048_576, ['*']]);
	const ignored = warnings.filter((warning) => warning.includes('no such setting'));
	assert.deepEqual(
		ignored,
		[...EARLIER_NAMES].map(([name, instead]) => `${name} is set, but this version has no such setting; ${instead}`),
	);
});

test('so does each as a key of the file', () => {
	const keyOf = (name: string) => name.slice('PULSAR_'.length).toLowerCase();
	const text = Object.entries(EARLIER).map(
		([name, value]) => `${keyOf(name)}: ${/^(\[|\d)/.test(value) ? value : `'${value}'`}\n`,
	);
	const loaded = load({ PULSAR_CONFIG_FILE: '/etc/relay.yaml' }, { '/etc/relay.yaml': text.join('') });
	assert(loaded.status === 'ok', JSON.stringify(loaded));
	for (const [name, instead] of EARLIER_NAMES) {
		assert(loaded.warnings.includes(`${keyOf(name)} in /etc/relay.yaml: this version has no such setting; ${instead}`));
	}
});
