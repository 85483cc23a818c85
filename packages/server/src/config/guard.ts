/** The guard at the start: whether accounts are worth anything with these settings. Everything that is missing is told at once. */

import type { Config, ProviderConfig } from './schema.ts';

/** What the earlier server signed with when nothing was set. Everybody knows it. */
const WELL_KNOWN_SECRET = 'your-secret-key-here-change-in-production';
const SECRET_LENGTH_MIN = 32;
const USERNAME_LENGTH = { min: 3, max: 50 } as const;
const PASSWORD_LENGTH = { min: 8, max: 1024 } as const;

/** What speaks against starting, and what only wants saying; one line each, without a full stop, and no secret in any. */
export interface GuardReport {
	readonly problems: readonly string[];
	readonly warnings: readonly string[];
}

/** Looks at the settings of a relay that asks for credentials. */
export function guardAccess(config: Config, onLoopback: boolean): GuardReport {
	const weaknesses = weaknessesOf(config, onLoopback);
	const refused = !onLoopback && !config.allowInsecureDefaults;
	const problems = [...brokenBootstrap(config), ...(refused ? weaknesses : [])];
	const warnings = refused ? [] : [...weaknesses];
	if (config.jwtSecretKey === null && config.storageBackend === 'valkey') {
		problems.push('PULSAR_JWT_SECRET_KEY: is not set, and the nodes that share a Valkey server must share it');
	} else if (config.jwtSecretKey === null && !refused) {
		warnings.push('PULSAR_JWT_SECRET_KEY is not set: this process made a secret of its own, and tokens end with it');
	}
	return { problems: [...new Set(problems)], warnings };
}

function weaknessesOf(config: Config, onLoopback: boolean): string[] {
	const weaknesses: string[] = [];
	const { jwtSecretKey: secret } = config;
	if (secret === null) {
		if (!onLoopback) weaknesses.push('PULSAR_JWT_SECRET_KEY: is not set; make one with `openssl rand -hex 32`');
	} else if (secret === WELL_KNOWN_SECRET) {
		weaknesses.push('PULSAR_JWT_SECRET_KEY: is the well-known example; make one with `openssl rand -hex 32`');
	} else if (secret.length < SECRET_LENGTH_MIN) {
		weaknesses.push(`PULSAR_JWT_SECRET_KEY: has ${secret.length} characters, and needs at least ${SECRET_LENGTH_MIN}`);
	}
	// Only this machine reaches a loopback address; there the rest may be left out without a word.
	if (onLoopback) return weaknesses;
	if (config.bootstrapAdminUsername === null)
		weaknesses.push('PULSAR_BOOTSTRAP_ADMIN_USERNAME: is not set; beyond loopback an administrator is required');
	if (config.bootstrapAdminPassword === null)
		weaknesses.push('PULSAR_BOOTSTRAP_ADMIN_PASSWORD: is not set; beyond loopback an administrator is required');
	if (config.allowedOrigins.length === 0) {
		weaknesses.push('PULSAR_ALLOWED_ORIGINS: is empty; give the origins of the pages that use the relay');
	}
	if (config.trustedHosts.length === 0) {
		weaknesses.push('PULSAR_TRUSTED_HOSTS: is empty; give the host names under which the relay is reached');
	}
	if (config.storageBackend === 'valkey' && config.valkeyPassword === null) weaknesses.push('PULSAR_VALKEY_PASSWORD: is not set');
	return weaknesses;
}

/** A bootstrap account that could not be made, or not be signed in to: found out here rather than by a locked door. */
function brokenBootstrap({ bootstrapAdminUsername: username, bootstrapAdminPassword: password }: Config): string[] {
	const problems: string[] = [];
	if (username === null && password !== null) {
		problems.push('PULSAR_BOOTSTRAP_ADMIN_USERNAME: is not set, but PULSAR_BOOTSTRAP_ADMIN_PASSWORD is');
	}
	if (password === null && username !== null) {
		problems.push('PULSAR_BOOTSTRAP_ADMIN_PASSWORD: is not set, but PULSAR_BOOTSTRAP_ADMIN_USERNAME is');
	}
	if (username !== null && !isWithin(username, USERNAME_LENGTH)) {
		problems.push(`PULSAR_BOOTSTRAP_ADMIN_USERNAME: must have ${USERNAME_LENGTH.min} to ${USERNAME_LENGTH.max} characters`);
	}
	if (password !== null && !isWithin(password, PASSWORD_LENGTH)) {
		problems.push(`PULSAR_BOOTSTRAP_ADMIN_PASSWORD: must have ${PASSWORD_LENGTH.min} to ${PASSWORD_LENGTH.max} characters`);
	}
	return problems;
}

function isWithin({ length }: string, { min, max }: { readonly min: number; readonly max: number }): boolean {
	return length >= min && length <= max;
}

const PERMISSIONS: readonly string[] = ['admin', 'read', 'write'];
const LOOPBACK_HOST = /^(?:localhost|127(?:\.[0-9]{1,3}){3}|\[::1\])$/;

/** Looks at how people and tokens from elsewhere get in: what belongs together must be set together. */
export function guardSignIn(config: Config): GuardReport {
	const { oidcEnabled, oidcBaseUrl, oidcProviders, oidcDefaultPermissions, auth } = config;
	const problems: string[] = [];
	const warnings: string[] = [];
	if (oidcEnabled) {
		if (auth !== 'required') problems.push('PULSAR_OIDC__ENABLED: signing in needs accounts; set PULSAR_AUTH=required');
		if (oidcBaseUrl === null) {
			problems.push('PULSAR_OIDC__BASE_URL: is not set; give the URL under which browsers reach the relay');
		}
		if (oidcProviders.length === 0) {
			problems.push(
				'PULSAR_OIDC__PROVIDERS: there is none; set PULSAR_OIDC__PROVIDERS__<NAME>__CLIENT_ID and what belongs to it',
			);
		}
		problems.push(...oidcProviders.flatMap((provider) => providerProblems(provider, config)));
	} else if (oidcProviders.length > 0) {
		warnings.push('PULSAR_OIDC__ENABLED is not set: nobody can sign in at the providers that are set up');
	}
	if (oidcBaseUrl !== null) problems.push(...urlProblems('PULSAR_OIDC__BASE_URL', oidcBaseUrl, false));
	const unknown = oidcDefaultPermissions.filter((permission) => !PERMISSIONS.includes(permission));
	if (unknown.length > 0) problems.push(`PULSAR_OIDC__DEFAULT_PERMISSIONS: takes ${PERMISSIONS.join(', ')} only`);
	problems.push(...issuerProblems(config));
	return { problems, warnings };
}

function providerProblems(provider: ProviderConfig, { allowInsecureDefaults }: Config): string[] {
	const variable = (field: string) => `PULSAR_OIDC__PROVIDERS__${provider.name.toUpperCase()}__${field}`;
	const problems: string[] = [];
	for (const [field, value] of [
		['CLIENT_ID', provider.clientId],
		['CLIENT_SECRET', provider.clientSecret],
	] as const) {
		if (value === null) problems.push(`${variable(field)}: is not set`);
	}
	if (!provider.scopes.includes('openid')) problems.push(`${variable('SCOPES')}: must have openid among them`);
	const endpoints = [
		['ISSUER', provider.issuer],
		['AUTHORIZATION_ENDPOINT', provider.authorizationEndpoint],
		['TOKEN_ENDPOINT', provider.tokenEndpoint],
		['JWKS_URI', provider.jwksUri],
	] as const;
	const given = endpoints.filter(([, value]) => value !== null);
	if (provider.discoveryUrl === null && given.length === 0) {
		problems.push(`${variable('DISCOVERY_URL')}: is not set, and neither are ${endpoints.map(([field]) => field).join(', ')}`);
	} else if (provider.discoveryUrl === null) {
		for (const [field, value] of endpoints) {
			if (value === null) problems.push(`${variable(field)}: is not set, but ${given.map(([name]) => name).join(', ')} is`);
		}
	} else if (given.length > 0) {
		problems.push(`${variable('DISCOVERY_URL')}: ${given.map(([field]) => field).join(', ')} is set, too; keep one of them`);
	}
	for (const [field, value] of [['DISCOVERY_URL', provider.discoveryUrl] as const, ...endpoints]) {
		if (value !== null) problems.push(...urlProblems(variable(field), value, allowInsecureDefaults));
	}
	return problems;
}

/** Tokens of another issuer: without any one of these, tokens would be accepted that were meant for somebody else, or by anybody. */
function issuerProblems(config: Config): string[] {
	const parts = [
		['PULSAR_TOKEN_ISSUER', config.tokenIssuer],
		['PULSAR_TOKEN_AUDIENCE', config.tokenAudience],
		['PULSAR_TOKEN_JWKS_URI', config.tokenJwksUri],
	] as const;
	const given = [...parts, ['PULSAR_TOKEN_CLAIM_USERNAME', config.tokenClaimUsername] as const]
		.filter(([, value]) => value !== null)
		.map(([name]) => name);
	if (given.length === 0) return [];
	const problems = parts.flatMap(([name, value]) => (value === null ? [`${name}: is not set, but ${given.join(', ')} is`] : []));
	if (config.auth !== 'required') problems.push('PULSAR_TOKEN_ISSUER: its tokens need accounts; set PULSAR_AUTH=required');
	if (config.tokenJwksUri !== null) {
		problems.push(...urlProblems('PULSAR_TOKEN_JWKS_URI', config.tokenJwksUri, config.allowInsecureDefaults));
	}
	return problems;
}

/** What is sent over plain http beyond this machine can be read and changed on its way. */
function urlProblems(variable: string, text: string, allowInsecure: boolean): string[] {
	const url = URL.parse(text);
	if (url === null || !/^https?:$/.test(url.protocol) || url.hash !== '' || `${url.username}${url.password}` !== '') {
		return [`${variable}: is not a URL of the form https://host/path`];
	}
	const isPrivate = url.protocol === 'https:' || LOOPBACK_HOST.test(url.hostname) || allowInsecure;
	return isPrivate ? [] : [`${variable}: must be https, except on a loopback address`];
}
