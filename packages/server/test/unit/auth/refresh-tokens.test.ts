/** Refresh tokens: rotation, the grace in which an answer may be lost, replay, and sessions. */

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { SESSIONS_MAX } from '../../../src/auth/refresh-tokens.ts';
import { createWorld, refused } from './world.ts';

const GRACE_MS = 30_000;
const DAY_MS = 86_400_000;

/** A session of a new account, and its tokens as far as they were asked for. */
async function session(options: Parameters<typeof createWorld>[0] = {}) {
	const world = createWorld(options);
	const bob = await world.account('bob');
	const { accountId } = bob;
	const { sessions } = world.auth;
	const issue = async (clientHint: string | null) => (await sessions.issue(bob, clientHint)) ?? assert.fail('no session');
	const first = await issue('a client');
	const next = async (token: string) => {
		const outcome = await sessions.rotate(token);
		assert(outcome.status === 'rotated', outcome.status);
		return outcome.refreshToken;
	};
	return {
		...world,
		bob,
		accountId,
		sessions,
		issue,
		first,
		next,
		status: async (token: string) => (await sessions.rotate(token)).status,
	};
}

test('a token has the form that existing clients store, and its secret is nowhere in the records', async () => {
	const { first, records, next } = await session();
	const second = await next(first);
	for (const token of [first, second]) assert.match(token, /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\.[A-Za-z0-9_-]{43}$/);
	assert.notEqual(first, second);
	const stored = JSON.stringify(await records.list('session', { prefix: '', after: null, limit: 10 }));
	for (const token of [first, second]) assert(!stored.includes(token.split('.')[1] ?? 'none'));
});

test('each token is good for its successor, for as long as it likes', async () => {
	const { first, next, clock, sessions, accountId } = await session();
	let token = first;
	for (let i = 0; i < 20; i++) {
		clock.advance(10 * DAY_MS);
		token = await next(token);
	}
	const [only, ...others] = await sessions.list(accountId);
	assert.equal(others.length, 0, 'one session, however often it is used');
	assert.equal(only?.lastUsedAtMs, clock.nowMs());
	assert.equal(only?.expiresAtMs, clock.nowMs() + 90 * DAY_MS, 'a whole lifetime from each use');
});

test('within the grace the token before gives the same successor again, to as many as ask', async () => {
	const { first, next, clock } = await session();
	const second = await next(first);
	clock.advance(GRACE_MS);
	assert.equal(await next(first), second);
	const again = await Promise.all(Array.from({ length: 10 }, () => next(first)));
	assert.deepEqual(new Set(again), new Set([second]));
	assert.notEqual(await next(second), second);
});

test('of many that present one token at the same time, on several nodes, all get the same', async () => {
	const { first, auth, node } = await session();
	const nodes = [auth, node(), node()];
	const outcomes = await Promise.all(Array.from({ length: 30 }, (_, i) => nodes[i % 3]?.sessions.rotate(first)));
	const tokens = new Set(outcomes.map((outcome) => (outcome?.status === 'rotated' ? outcome.refreshToken : outcome?.status)));
	assert.equal(tokens.size, 1);
	assert(!tokens.has('replayed'));
});

describe('a token that comes again when it should not ends its session', () => {
	test('after the grace', async () => {
		const { first, next, status, clock, sessions, accountId } = await session();
		const second = await next(first);
		clock.advance(GRACE_MS + 1);
		assert.equal(await status(first), 'replayed');
		assert.equal(await status(second), 'invalid', 'the one that was good, too');
		assert.deepEqual(await sessions.list(accountId), []);
	});

	test('once its successor was used, within the grace', async () => {
		const { first, next, status } = await session();
		const third = await next(await next(first));
		assert.equal(await status(first), 'replayed');
		assert.equal(await status(third), 'invalid');
	});

	test('however many tokens ago it was', async () => {
		const { first, next, status } = await session();
		let token = first;
		for (let i = 0; i < 100; i++) token = await next(token);
		assert.equal(await status(first), 'replayed');
		assert.equal(await status(token), 'invalid');
	});

	test('without any grace, at once', async () => {
		const { first, next, status, clock } = await session({ refreshGraceS: 0 });
		await next(first);
		clock.advance(1);
		assert.equal(await status(first), 'replayed');
	});

	test('and the operator is told, without the token', async () => {
		const { first, auth, clock, warnings } = await session();
		await auth.refresh(first);
		clock.advance(GRACE_MS + 1);
		await refused(() => auth.refresh(first), 'invalid_credentials', 'invalid refresh token');
		assert.equal(warnings.length, 1);
		assert.match(warnings[0] ?? '', /came again/);
		assert(!warnings[0]?.includes(first.split('.')[1] ?? 'none'));
	});
});

test('replay in one session leaves the others of the account alone', async () => {
	const { first, next, status, clock, issue } = await session();
	const other = await issue(null);
	await next(first);
	clock.advance(GRACE_MS + 1);
	assert.equal(await status(first), 'replayed');
	assert.equal(await status(other), 'rotated');
});

describe('what was never a token changes nothing', () => {
	const jti = '66bb7031-2d7c-4e3b-a215-c7eecda35ae7';
	for (const bad of [
		'',
		'.',
		'x',
		`${jti}`,
		`${jti}.`,
		'.secret',
		`${jti}.secret`,
		`../../x.secret`,
		`${jti}.${'x'.repeat(10_000)}`,
	]) {
		test(JSON.stringify(bad.slice(0, 60)), async () => assert.equal(await (await session()).status(bad), 'invalid'));
	}

	test('a forged secret of a session that exists does not end it', async () => {
		const { first, status, sessions } = await session();
		const [known = ''] = first.split('.');
		for (const secret of ['x', 'A'.repeat(43), (first.split('.')[1] ?? '').replace(/^./, (c) => (c === 'A' ? 'B' : 'A'))]) {
			assert.equal(await status(`${known}.${secret}`), 'invalid');
			assert.equal(await sessions.revoke(`${known}.${secret}`), true, 'no oracle');
		}
		assert.equal(await status(first), 'rotated');
	});
});

test('an unused session ends after its lifetime', async () => {
	const { first, status, clock, sessions, accountId } = await session();
	clock.advance(90 * DAY_MS);
	assert.equal(await status(first), 'invalid');
	assert.deepEqual(await sessions.list(accountId), []);
});

test('revoking by a token, used or not, ends the session; what is no token is told apart by its form only', async () => {
	const { first, next, status, sessions } = await session();
	const second = await next(first);
	assert.equal(await sessions.revoke('no-dot'), false);
	assert.equal(await sessions.revoke('66bb7031-2d7c-4e3b-a215-c7eecda35ae7.unknown'), true);
	assert.equal(await sessions.revoke(first), true);
	assert.equal(await status(second), 'invalid');
});

test('an account lists and ends its own sessions only', async () => {
	const { first, sessions, bob, accountId, account, status, auth } = await session();
	const eve = await account('eve');
	const [mine] = await sessions.list(accountId);
	assert.equal(mine?.clientHint, 'a client');
	assert.equal(first.startsWith(`${mine?.jti}.`), true);
	assert.deepEqual(await sessions.list(eve.accountId), []);
	assert.equal(await sessions.delete(eve.accountId, mine?.jti ?? ''), false);
	assert.equal(await sessions.delete(accountId, 'unknown'), false);
	assert.equal(await sessions.delete(accountId, '../x'), false);
	assert.equal(await sessions.delete(accountId, mine?.jti ?? ''), true);
	assert.equal(await status(first), 'invalid');
	await auth.deleteAccount(accountId);
	assert.equal(await sessions.issue(bob, null), null);
});

test('a refresh for an account that is disabled or gone is refused and ends the session', async () => {
	const { first, auth, accountId } = await session();
	await auth.accounts.change(accountId, { isActive: false });
	await refused(() => auth.refresh(first), 'invalid_credentials', 'user not found');
	await auth.accounts.change(accountId, { isActive: true });
	await refused(() => auth.refresh(first), 'invalid_credentials', 'invalid refresh token');
});

test('an account keeps so many sessions; those that nobody ever used make room first, the oldest before the others', async () => {
	const { first, next, status, sessions, issue, accountId, clock } = await session();
	const used = await next(first);
	clock.advance(1);
	const oldest = await issue('password-login');
	for (let i = 0; i < SESSIONS_MAX - 1; i++) {
		clock.advance(1);
		await issue('password-login');
	}
	assert.equal((await sessions.list(accountId)).length, SESSIONS_MAX);
	assert.equal(await status(oldest), 'invalid');
	assert.equal(await status(used), 'rotated');
});
