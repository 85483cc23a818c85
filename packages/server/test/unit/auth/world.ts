/** What the tests of identity share: everything put together over memory records and a clock that the test moves. */

import assert from 'node:assert/strict';
import { createHmac } from 'node:crypto';
import type { Account } from '../../../src/auth/accounts.ts';
import { Auth, type AuthOptions } from '../../../src/auth/auth.ts';
import type { Action, Permission } from '../../../src/auth/principal.ts';
import { mintScopedToken } from '../../../src/auth/scoped-tokens.ts';
import type { Records } from '../../../src/ports/records.ts';
import { createMemoryRecords } from '../../../src/stores/memory/records.ts';
import { createFakeClock, type FakeClock } from '../../support/clock.ts';

export const SECRET = 'a secret of the tests, longer than 32 characters';
export const PASSWORD = 'correct horse';

export interface World {
	readonly clock: FakeClock;
	readonly records: Records;
	readonly auth: Auth;
	/** What the operator was told. */
	readonly warnings: string[];
	/** Another node over the same records, or over its own view of them. */
	node(view?: Records): Auth;
	account(username: string, permissions?: readonly Permission[]): Promise<Account>;
}

export function createWorld(options: Partial<AuthOptions> = {}): World {
	const clock = createFakeClock();
	const records = createMemoryRecords({ clock });
	const warnings: string[] = [];
	const node = (view: Records = records) =>
		new Auth({
			records: view,
			clock,
			log: { warn: (fields, message) => void warnings.push(`${message} ${JSON.stringify(fields)}`) },
			jwtSecret: SECRET,
			accessTokenLifetimeS: 600,
			refreshTokenLifetimeS: 90 * 86_400,
			refreshGraceS: 30,
			...options,
		});
	const auth = node();
	return {
		clock,
		records,
		auth,
		warnings,
		node,
		account: (username, permissions = ['read', 'write']) =>
			auth.accounts.create({ username, password: PASSWORD, email: null, permissions }),
	};
}

/** Logs out by a token, as the route does. */
export async function logOut(auth: Auth, token: string): Promise<void> {
	const principal = await auth.authenticator.authenticate(token);
	assert(principal.kind !== 'apiKey');
	await auth.logout(principal);
}

/** Mints a scoped token by a token or key. */
export async function mint(
	auth: Auth,
	minter: string,
	action: Action,
	topics: readonly string[],
	lifetimeS = 60,
): Promise<string> {
	const principal = await auth.authenticator.authenticate(minter);
	const { token } = await mintScopedToken(auth, principal, { scopes: [{ actions: [action], topics }], lifetimeS });
	return token;
}

/** Asserts that something is refused, thrown or rejected, with a code and, when it matters, what existing clients are told. */
export async function refused(call: () => unknown, code: string, detail?: string): Promise<void> {
	await assert.rejects(
		async () => call(),
		(error: { code?: string; detail?: string }) => {
			assert.equal(error.code, code);
			if (detail !== undefined) assert.equal(error.detail, detail);
			return true;
		},
	);
}

export const base64url = (value: unknown) =>
	Buffer.from(typeof value === 'string' ? value : JSON.stringify(value)).toString('base64url');

/** A token signed by hand, so that it can say anything. */
export function forge(header: unknown, claims: unknown, key: string | Uint8Array = SECRET, digest = 'sha256'): string {
	const signed = `${base64url(header)}.${base64url(claims)}`;
	return `${signed}.${createHmac(digest, key).update(signed).digest('base64url')}`;
}
