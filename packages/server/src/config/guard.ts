/** The guard at the start: whether accounts are worth anything with these settings. Everything that is missing is told at once. */

import type { Config } from './schema.ts';

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
		if (!onLoopback) weaknesses.push('PULSAR_JWT_SECRET_KEY: is not set');
	} else if (secret === WELL_KNOWN_SECRET) {
		weaknesses.push('PULSAR_JWT_SECRET_KEY: is the well-known example; make one with `openssl rand -hex 32`');
	} else if (secret.length < SECRET_LENGTH_MIN) {
		weaknesses.push(`PULSAR_JWT_SECRET_KEY: has ${secret.length} characters, and needs at least ${SECRET_LENGTH_MIN}`);
	}
	// Only this machine reaches a loopback address; there the rest may be left out without a word.
	if (onLoopback) return weaknesses;
	if (config.bootstrapAdminUsername === null) weaknesses.push('PULSAR_BOOTSTRAP_ADMIN_USERNAME: is not set');
	if (config.bootstrapAdminPassword === null) weaknesses.push('PULSAR_BOOTSTRAP_ADMIN_PASSWORD: is not set');
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
