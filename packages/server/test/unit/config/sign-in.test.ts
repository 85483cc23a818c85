/** The settings of signing in at a provider and of tokens of another issuer: what belongs together, and that all of it is told at once. */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { loadConfig } from '../../../src/config/load.ts';

const PROVIDER = 'PULSAR_OIDC__PROVIDERS__EXAMPLE__';
const COMPLETE = {
	PULSAR_AUTH: 'required',
	PULSAR_JWT_SECRET_KEY: 'a-secret-of-the-tests-of-more-than-32-characters',
	PULSAR_OIDC__ENABLED: '1',
	PULSAR_OIDC__BASE_URL: 'https://relay.example.org',
	[`${PROVIDER}CLIENT_ID`]: 'relay',
	[`${PROVIDER}CLIENT_SECRET`]: 'planted client secret',
	[`${PROVIDER}DISCOVERY_URL`]: 'https://id.example.org/.well-known/openid-configuration',
};
const ISSUER = {
	PULSAR_AUTH: 'required',
	PULSAR_TOKEN_ISSUER: 'https://id.example.org',
	PULSAR_TOKEN_AUDIENCE: 'relay',
	PULSAR_TOKEN_JWKS_URI: 'https://id.example.org/keys',
};

function load(env: Record<string, string>, file?: string) {
	const readFile = (path: string) => {
		if (path === 'config.yaml' && file !== undefined) return file;
		throw Object.assign(new Error('no such file'), { code: 'ENOENT' });
	};
	const result = loadConfig({ argv: [], env, readFile });
	const told = result.status === 'ok' ? result.warnings : result.status === 'invalid' ? result.problems : [];
	assert(!told.some((line) => line.includes('planted')), 'no secret in what is told');
	return result;
}

function problems(env: Record<string, string>): readonly string[] {
	const result = load(env);
	return result.status === 'invalid' ? result.problems : [];
}

test('a provider is read under the name that its variables give it', () => {
	const result = load({ ...COMPLETE, [`${PROVIDER}SCOPES`]: '["openid"]', [`${PROVIDER}CLAIM_USERNAME`]: 'nickname' });
	assert(result.status === 'ok', JSON.stringify(result));
	assert.deepEqual(result.config.oidcProviders, [
		{
			name: 'example',
			displayName: null,
			clientId: 'relay',
			clientSecret: 'planted client secret',
			scopes: ['openid'],
			discoveryUrl: 'https://id.example.org/.well-known/openid-configuration',
			issuer: null,
			authorizationEndpoint: null,
			tokenEndpoint: null,
			jwksUri: null,
			claimUsername: 'nickname',
			claimEmail: 'email',
			claimSub: 'sub',
		},
	]);
});

test('in a file the settings may stand in tables, and what the environment says wins over them', () => {
	const file = `
oidc:
  base_url: https://relay.example.org
  providers:
    my_provider:
      client_id: from the file
      client_secret: planted in the file
      discovery_url: https://id.example.org/.well-known/openid-configuration
oidc__enabled: true
`;
	const { PULSAR_AUTH, PULSAR_JWT_SECRET_KEY } = COMPLETE;
	const env = { PULSAR_AUTH, PULSAR_JWT_SECRET_KEY, PULSAR_OIDC__PROVIDERS__MY_PROVIDER__CLIENT_ID: 'from the environment' };
	const result = load(env, file);
	assert(result.status === 'ok', JSON.stringify(result));
	assert.equal(result.config.oidcEnabled, true);
	assert.equal(result.config.oidcBaseUrl, 'https://relay.example.org');
	const [provider] = result.config.oidcProviders;
	assert.deepEqual([provider?.name, provider?.clientId], ['my_provider', 'from the environment']);
});

test('everything that is missing is told at once', () => {
	assert.deepEqual(problems({ PULSAR_OIDC__ENABLED: '1' }), [
		'PULSAR_OIDC__ENABLED: signing in needs accounts; set PULSAR_AUTH=required',
		'PULSAR_OIDC__BASE_URL: is not set; give the URL under which browsers reach the relay',
		'PULSAR_OIDC__PROVIDERS: there is none; set PULSAR_OIDC__PROVIDERS__<NAME>__CLIENT_ID and what belongs to it',
	]);
	assert.deepEqual(
		problems({
			...COMPLETE,
			PULSAR_OIDC__DEFAULT_PERMISSIONS: '["read","root"]',
			PULSAR_OIDC__PROVIDERS__SECOND__ISSUER: 'https://second.example.org',
			PULSAR_OIDC__PROVIDERS__SECOND__SCOPES: '["email"]',
			PULSAR_OIDC__PROVIDERS__THIRD__DISPLAY_NAME: 'Third',
		}),
		[
			'PULSAR_OIDC__PROVIDERS__SECOND__CLIENT_ID: is not set',
			'PULSAR_OIDC__PROVIDERS__SECOND__CLIENT_SECRET: is not set',
			'PULSAR_OIDC__PROVIDERS__SECOND__SCOPES: must have openid among them',
			'PULSAR_OIDC__PROVIDERS__SECOND__AUTHORIZATION_ENDPOINT: is not set, but ISSUER is',
			'PULSAR_OIDC__PROVIDERS__SECOND__TOKEN_ENDPOINT: is not set, but ISSUER is',
			'PULSAR_OIDC__PROVIDERS__SECOND__JWKS_URI: is not set, but ISSUER is',
			'PULSAR_OIDC__PROVIDERS__THIRD__CLIENT_ID: is not set',
			'PULSAR_OIDC__PROVIDERS__THIRD__CLIENT_SECRET: is not set',
			'PULSAR_OIDC__PROVIDERS__THIRD__DISCOVERY_URL: is not set, and neither are ISSUER, AUTHORIZATION_ENDPOINT, TOKEN_ENDPOINT, JWKS_URI',
			'PULSAR_OIDC__DEFAULT_PERMISSIONS: takes admin, read, write only',
		],
	);
});

test('what is sent beyond this machine is sent over https', () => {
	const plain = { ...COMPLETE, [`${PROVIDER}DISCOVERY_URL`]: 'http://id.example.org/.well-known/openid-configuration' };
	assert.deepEqual(problems(plain), [`${PROVIDER}DISCOVERY_URL: must be https, except on a loopback address`]);
	assert.deepEqual(problems({ ...plain, PULSAR_ALLOW_INSECURE_DEFAULTS: '1' }), []);
	for (const url of [
		'http://relay.example.org',
		'ftp://relay.example.org',
		'relay.example.org',
		'https://me:pw@relay.example.org',
	]) {
		assert.match(problems({ ...COMPLETE, PULSAR_OIDC__BASE_URL: url })[0] ?? '', /^PULSAR_OIDC__BASE_URL: /, url);
	}
	for (const url of [
		'http://127.0.0.1:8080',
		'http://localhost:8080/relay',
		'http://[::1]:8080',
		'https://relay.example.org/relay/',
	]) {
		assert.deepEqual(problems({ ...COMPLETE, PULSAR_OIDC__BASE_URL: url }), [], url);
	}
});

test('providers that are set up without being enabled are a warning, and devices need no provider', () => {
	const { PULSAR_OIDC__ENABLED: _, ...rest } = COMPLETE;
	const result = load(rest);
	assert(result.status === 'ok', JSON.stringify(result));
	assert.match(result.warnings[0] ?? '', /^PULSAR_OIDC__ENABLED is not set/);
	assert.equal(load({ PULSAR_AUTH: 'required', PULSAR_OIDC__BASE_URL: 'http://127.0.0.1:8080' }).status, 'ok');
});

test('of another issuer its name, our audience and its keys are needed, and each that is missing is told', () => {
	assert.deepEqual(problems(ISSUER), []);
	assert.deepEqual(problems({ PULSAR_TOKEN_CLAIM_USERNAME: 'preferred_username' }), [
		'PULSAR_TOKEN_ISSUER: is not set, but PULSAR_TOKEN_CLAIM_USERNAME is',
		'PULSAR_TOKEN_AUDIENCE: is not set, but PULSAR_TOKEN_CLAIM_USERNAME is',
		'PULSAR_TOKEN_JWKS_URI: is not set, but PULSAR_TOKEN_CLAIM_USERNAME is',
		'PULSAR_TOKEN_ISSUER: its tokens need accounts; set PULSAR_AUTH=required',
	]);
	const { PULSAR_TOKEN_AUDIENCE: _, ...withoutAudience } = ISSUER;
	assert.deepEqual(problems(withoutAudience), [
		'PULSAR_TOKEN_AUDIENCE: is not set, but PULSAR_TOKEN_ISSUER, PULSAR_TOKEN_JWKS_URI is',
	]);
	assert.deepEqual(problems({ ...ISSUER, PULSAR_TOKEN_JWKS_URI: 'http://id.example.org/keys' }), [
		'PULSAR_TOKEN_JWKS_URI: must be https, except on a loopback address',
	]);
});
