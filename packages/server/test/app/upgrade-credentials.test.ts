/** Accounts, sessions, keys and grants that a relay 0.3.0 wrote: they are good here, and what ends credentials ends those as well. */

import assert from 'node:assert/strict';
import { hkdfSync } from 'node:crypto';
import { cp, mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { Auth } from '../../src/auth/auth.ts';
import { systemClock } from '../../src/ops/clock.ts';
import type { Records } from '../../src/ports/records.ts';
import { openEmbeddedRecords } from '../../src/stores/embedded/records.ts';
import { openValkeyStore } from '../../src/stores/valkey/store.ts';
import { startValkey, valkeyUnavailable } from '../support/valkey.ts';
import { forge, logOut, mint, refused } from '../unit/auth/world.ts';

const FIXTURE = new URL('../fixtures/0.3.0/', import.meta.url).pathname;
/** Some seconds after the fixture was written: its sessions live for 90 days. */
const STARTED_MS = Date.UTC(2026, 10, 27, 22, 10);
const shiftMs = systemClock.nowMs() - STARTED_MS;
const clock = { ...systemClock, nowMs: () => systemClock.nowMs() - shiftMs };

interface Expected {
	readonly jwtSecret: string;
	readonly accounts: readonly { readonly username: string; readonly password: string; readonly user_id: string }[];
	readonly keys: readonly { readonly key_id: string; readonly api_key: string }[];
	readonly sessions: readonly { readonly refresh_token: string }[];
}

type Opened = { readonly records: Records; close(): Promise<void> };

async function openEmbedded(dir: string): Promise<Opened> {
	const records = await openEmbeddedRecords({ dataDir: dir, clock });
	return { records, close: () => records.close() };
}

async function openValkey(dir: string): Promise<Opened> {
	const server = await startValkey({ settings: { dir } });
	const store = await openValkeyStore({
		server: {
			addresses: [{ host: server.host, port: server.port }],
			cluster: false,
			tls: null,
			keyPrefix: '',
			username: null,
			password: () => server.password,
		},
		demands: { durability: [], replicas: 0, assumeDurability: null, allowEviction: false },
		topicsMax: 1000,
		clock,
		timeFrom: 'clock',
		onWarning: () => {},
	});
	const records = await store.openRecords();
	return {
		records,
		async close() {
			await records.close();
			await store.close();
			await server.stop();
		},
	};
}

function suite(mode: 'embedded' | 'valkey', open: (dir: string) => Promise<Opened>): void {
	let dir: string;
	let opened: Opened;
	let auth: Auth;
	let expected: Expected;
	before(async () => {
		dir = await mkdtemp(join(tmpdir(), 'pulsar-upgrade-'));
		await cp(join(FIXTURE, mode), dir, { recursive: true });
		expected = JSON.parse(await readFile(join(dir, 'expected.json'), 'utf8')) as Expected;
		opened = await open(dir);
		auth = new Auth({
			records: opened.records,
			clock,
			log: { warn: () => {} },
			jwtSecret: expected.jwtSecret,
			accessTokenLifetimeS: 600,
			refreshTokenLifetimeS: 90 * 86_400,
			refreshGraceS: 30,
		});
		await auth.prepare(null);
	});
	after(async () => {
		auth.close();
		await opened.close();
		await rm(dir, { recursive: true, force: true });
	});

	const alice = () => expected.accounts[0] ?? assert.fail();
	const bob = () => expected.accounts[1] ?? assert.fail();
	const key = () => expected.keys[0] ?? assert.fail();

	test('people sign in, and no new name looks like theirs', async () => {
		for (const { username, password, user_id: userId } of expected.accounts) {
			const principal = await auth.authenticator.authenticate((await auth.login(username, password)).accessToken);
			assert.equal(principal.accountId, userId);
		}
		for (const username of ['Alice', 'BOB', 'a1ice', 'Admin']) {
			const made = auth.accounts.create({ username, password: null, email: null, permissions: [] });
			await refused(() => made, 'account_exists');
		}
	});

	test('a grant is good', async () => {
		const { accessToken } = await auth.login(bob().username, bob().password);
		const principal = await auth.authenticator.authenticate(accessToken);
		assert.equal((await auth.topics.allow(principal, 'subscribe', 'alice/jobs')).topic, `${alice().user_id}/jobs`);
		await refused(() => auth.topics.allow(principal, 'publish', 'alice/jobs'), 'forbidden');
	});

	test('a key and its scoped tokens are good until it is rotated', async () => {
		const { key_id: keyId, api_key: secret } = key();
		await auth.authenticator.authenticate(secret);
		const iat = Math.floor(clock.nowMs() / 1000) - 10;
		const scopes = [{ actions: ['publish'], topics: [`${alice().user_id}/jobs`] }];
		const claims = { sub: alice().user_id, username: 'alice', scopes, key: keyId, iat, exp: iat + 3600, jti: 'by-0.3.0' };
		const signingKey = new Uint8Array(hkdfSync('sha256', expected.jwtSecret, '', 'pulsar-relay scoped token', 32));
		const tokens = [
			forge({ alg: 'HS256', typ: 'scoped+jwt' }, claims, signingKey),
			await mint(auth, secret, 'publish', ['jobs']),
		];
		for (const token of tokens) await auth.authenticator.authenticate(token);
		const rotated = await auth.keys.rotate(alice().user_id, keyId, 0);
		for (const credential of [secret, ...tokens]) {
			await refused(() => auth.authenticator.authenticate(credential), 'invalid_credentials');
		}
		await auth.authenticator.authenticate(rotated?.secret ?? '');
	});

	test('a session and an access token go on until the password is replaced', async () => {
		const { user_id: sub, username } = alice();
		const refreshToken = expected.sessions[0]?.refresh_token ?? '';
		const [sid] = refreshToken.split('.');
		const iat = Math.floor(clock.nowMs() / 1000) - 10;
		const tokenOf = (jti: string) =>
			forge({ alg: 'HS256', typ: 'JWT' }, { sub, username, sid, iat, exp: iat + 600, jti }, expected.jwtSecret);
		const [first, second] = [tokenOf('first-by-0.3.0'), tokenOf('second-by-0.3.0')];
		const next = await auth.refresh(refreshToken);
		for (const token of [first, second]) await auth.authenticator.authenticate(token);
		await logOut(auth, first);
		await refused(() => auth.authenticator.authenticate(first), 'invalid_credentials');
		await auth.authenticator.authenticate(second);
		await auth.changeAccount(sub, { password: 'another password' });
		for (const token of [second, next.accessToken]) {
			await refused(() => auth.authenticator.authenticate(token), 'invalid_credentials');
		}
		await refused(() => auth.refresh(next.refreshToken), 'invalid_credentials');
		await auth.login(username, 'another password');
	});

	test('the password of the operator is set once by the first start, and then stays', async () => {
		const admin = { username: 'admin', password: 'of the settings', email: null };
		await auth.prepare(admin);
		const { accessToken } = await auth.login('admin', 'of the settings');
		await auth.prepare(admin);
		await auth.authenticator.authenticate(accessToken);
	});
}

describe('credentials of 0.3.0 on the embedded store', () => suite('embedded', openEmbedded));
describe('credentials of 0.3.0 on Valkey', { skip: valkeyUnavailable() ?? false }, () => suite('valkey', openValkey));
