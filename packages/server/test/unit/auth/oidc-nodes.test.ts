/** Signing in at a real provider over several nodes and over time, and the accounts that come of it. */

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import type { Auth, AuthOptions } from '../../../src/auth/auth.ts';
import { HttpBrowser } from '../../support/http-browser.ts';
import { CLIENT_ID, CLIENT_SECRET, type IdentityProvider, startIdentityProvider } from '../../support/identity-provider.ts';
import { createWorld, refused } from './world.ts';

const BASE = 'https://relay.example.org';
const CALLBACK = `${BASE}/auth/oidc/example/callback`;

let provider: IdentityProvider;
before(async () => {
	provider = await startIdentityProvider({ redirectUris: [CALLBACK] });
});
after(() => provider.close());

function withProvider(options: Partial<AuthOptions> = {}) {
	return createWorld({
		...options,
		browser: {
			baseUrl: BASE,
			deviceLifetimeS: 600,
			deviceIntervalS: 5,
			oidc: {
				providers: [
					{
						name: 'example',
						displayName: 'Example',
						clientId: CLIENT_ID,
						clientSecret: CLIENT_SECRET,
						scopes: ['openid', 'email'],
						address: { kind: 'discovery', url: provider.discoveryUrl },
						claimUsername: 'email',
						claimEmail: 'email',
						claimSub: 'sub',
					},
				],
				defaultPermissions: ['read'],
				lifetimeS: 600,
				returnOrigins: [],
			},
		},
	});
}

function oidcOf({ browser }: Auth) {
	return browser?.oidc ?? assert.fail('there are no providers');
}

/** Begins on a node and signs in; gives what the browser then brings back. */
async function comeBack(node: Auth, name: string): Promise<readonly [query: string, sealed: string]> {
	const { url, sealed } = await oidcOf(node).begin('example', { next: null, deviceUserCode: null });
	return [new URL(await new HttpBrowser().signIn(url, name, CALLBACK)).search.slice(1), sealed];
}

const finish = (node: Auth, [query, sealed]: readonly [string, string]) => oidcOf(node).finish('example', query, sealed);

test('what begins on one node ends on another, once on all of them', async () => {
	const { auth, node } = withProvider();
	const back = await comeBack(auth, 'ann');
	const outcomes = await Promise.allSettled([node(), node(), auth].map((one) => finish(one, back)));
	assert.deepEqual(outcomes.map(({ status }) => status).toSorted(), ['fulfilled', 'rejected', 'rejected']);
	await refused(() => finish(node(), back), 'bad_request', 'Invalid or expired state');
});

test('another secret opens no sign-in', async () => {
	const back = await comeBack(withProvider().auth, 'ann');
	const { auth } = withProvider({ jwtSecret: 'another secret of the tests, longer than 32 characters' });
	await refused(() => finish(auth, back), 'bad_request', 'Invalid or expired state');
});

test('a sign-in that takes too long ends in nothing', async () => {
	const { auth, clock } = withProvider();
	const [good, late] = [await comeBack(auth, 'ann'), await comeBack(auth, 'ann')];
	clock.advance(599_000);
	await finish(auth, good);
	clock.advance(1_000);
	await refused(() => finish(auth, late), 'bad_request', 'Invalid or expired state');
});

test('what a page is handed is good for a minute, on every node, once', async () => {
	const { auth, node, clock } = withProvider();
	const signedIn = await finish(auth, await comeBack(auth, 'ann'));
	const [first, second] = [await oidcOf(auth).handOver(signedIn), await oidcOf(auth).handOver(signedIn)];
	const redeemed = await Promise.all([auth, node(), node()].map((one) => oidcOf(one).redeem(first)));
	assert.equal(redeemed.filter((one) => one !== null).length, 1);
	clock.advance(60_000);
	assert.equal(await oidcOf(auth).redeem(second), null);
});

test('what a page is handed is worth nothing once the account is disabled', async () => {
	const { auth } = withProvider();
	const signedIn = await finish(auth, await comeBack(auth, 'ann'));
	const code = await oidcOf(auth).handOver(signedIn);
	await auth.accounts.change(signedIn.account.accountId, { isActive: false });
	assert.equal(await oidcOf(auth).redeem(code), null);
});

test('what a page is handed is worth nothing after the account was disabled for a while, or got a password', async () => {
	const { auth } = withProvider();
	const { account, ...signedIn } = await finish(auth, await comeBack(auth, 'ann'));
	const codes = [await oidcOf(auth).handOver({ account, ...signedIn })];
	for (const isActive of [false, true]) await auth.changeAccount(account.accountId, { isActive });
	const again = await finish(auth, await comeBack(auth, 'ann'));
	codes.push(await oidcOf(auth).handOver(again));
	await auth.changeAccount(account.accountId, { password: 'a new password' });
	for (const code of codes) assert.equal(await oidcOf(auth).redeem(code), null);
	for (const before of [account, again.account]) assert.equal(await auth.begin(before, null), null);
});

test('a provider may change its keys between two sign-ins', async () => {
	const { auth } = withProvider();
	for (let i = 0; i < 4; i++) {
		await finish(auth, await comeBack(auth, 'ann'));
		await provider.rotate();
	}
	// The keys were read once for each, and the sign-ins that follow read them no more.
	await finish(auth, await comeBack(auth, 'ann'));
	const before = provider.requests.length;
	await finish(auth, await comeBack(auth, 'ben'));
	assert(!provider.requests.slice(before).includes('/jwks'));
});

describe('a provider that does not answer', () => {
	test('is left alone for longer and longer, up to a minute', async () => {
		const { auth, clock, warnings } = withProvider();
		await provider.down();
		const begin = () =>
			refused(
				() => oidcOf(auth).begin('example', { next: null, deviceUserCode: null }),
				'provider_unavailable',
				'OIDC provider unreachable',
			);
		for (const waitMs of [1000, 2000, 4000, 8000, 16_000, 32_000, 60_000, 60_000]) {
			const before = warnings.length;
			await begin();
			assert.equal(warnings.length, before + 1, `asked after the wait before ${waitMs}`);
			clock.advance(waitMs - 1);
			await begin();
			assert.equal(warnings.length, before + 1, `not asked within ${waitMs}`);
			clock.advance(1);
		}
		await provider.up();
		await oidcOf(auth).begin('example', { next: null, deviceUserCode: null });
	});

	test('when it is asked about itself again, goes on as it was', async () => {
		const { auth, clock } = withProvider();
		const begin = () => oidcOf(auth).begin('example', { next: null, deviceUserCode: null });
		await begin();
		await provider.down();
		clock.advance(3_600_000);
		await begin();
		await begin();
		await provider.up();
	});
});

describe('accounts of identities', () => {
	const introduction = (...names: unknown[]) => ({ provider: 'example', names, email: null, permissions: ['read'] as const });

	test('one identity gets one account, though it says other names at the same time', async () => {
		const { auth } = withProvider();
		const { federated } = auth;
		const identity = { issuer: 'https://id.example.org', subject: 'one' };
		const accounts = await Promise.all(
			['a-name', 'b-name', 'c-name'].map((name) => federated.findOrMake(identity, introduction(name))),
		);
		assert.equal(new Set(accounts.map(({ accountId }) => accountId)).size, 1);
		assert.equal((await auth.accounts.count()).total, 1);
	});

	test('the same subject of another issuer is somebody else', async () => {
		const { auth } = withProvider();
		const { federated } = auth;
		const of = (issuer: string) => federated.findOrMake({ issuer, subject: 'one' }, introduction('name'));
		const [first, second] = [await of('https://a.example.org'), await of('https://b.example.org')];
		assert.notEqual(first.accountId, second.accountId);
	});

	test('names run out of nothing: each more of one name ends in what makes it another', async () => {
		const { auth } = withProvider();
		const { federated } = auth;
		const name = 'n'.repeat(50);
		const names: string[] = [];
		for (let i = 0; i < 5; i++) {
			const identity = { issuer: 'https://id.example.org', subject: `same-subject-${i}` };
			names.push((await federated.findOrMake(identity, introduction(name))).username);
		}
		assert.equal(new Set(names).size, 5);
		for (const made of names) assert(made.length <= 50, made);
		assert.equal(names[1], `${'n'.repeat(42)}-example`);
		assert.match(names[3] ?? '', /^n+-example-samesubj-[0-9a-f]{6}$/);
	});

	test('an account that was deleted is made anew, as another one', async () => {
		const { auth, records } = withProvider();
		const { federated } = auth;
		const identity = { issuer: 'https://id.example.org', subject: 'one' };
		const first = await federated.findOrMake(identity, introduction('name'));
		await auth.deleteAccount(first.accountId);
		for (const kind of ['identity', 'federated-account']) {
			assert.deepEqual(await records.list(kind, { prefix: '', after: null, limit: 10 }), [], `nothing is left of its ${kind}`);
		}
		assert.equal(await federated.find(identity), null);
		const second = await federated.findOrMake(identity, introduction('name'));
		assert.equal(second.username, 'name');
		assert.notEqual(second.accountId, first.accountId);
	});
});
