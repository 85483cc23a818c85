/** The device flow: what each step gives, once, on every node, and only as long as it may. */

import assert from 'node:assert/strict';
import { hash } from 'node:crypto';
import { describe, test } from 'node:test';
import type { Auth, BrowserSignIn } from '../../../src/auth/auth.ts';
import type { RecordOp } from '../../../src/ports/records.ts';
import { createWorld, refused } from './world.ts';

const BROWSER = { baseUrl: 'https://relay.example.org', deviceLifetimeS: 600, deviceIntervalS: 5, oidc: null };

async function withDevice(pair = false) {
	const world = createWorld({ browser: BROWSER });
	const account = await world.account('bob');
	const flow = flowOf(world.auth);
	const codes = await flow.begin('example program', pair);
	const ticket = async () => {
		const device = await flow.find(codes.userCode);
		assert(device !== null);
		return flow.admit(device, account);
	};
	return { ...world, bob: account, accountId: account.accountId, flow, codes, ticket };
}

function flowOf({ browser }: { readonly browser: BrowserSignIn | null }) {
	assert(browser !== null);
	return browser.device;
}

test('the codes have the form that existing clients and people know, and the long one is stored nowhere', async () => {
	const { codes, records } = await withDevice();
	assert.match(codes.userCode, /^[BCDFGHJKLMNPQRSTVWXZ2-9]{4}-[BCDFGHJKLMNPQRSTVWXZ2-9]{4}$/);
	assert.match(codes.deviceCode, /^[A-Za-z0-9_-]{43}$/);
	assert.deepEqual([codes.expiresInS, codes.intervalS], [600, 5]);
	const stored = await records.list('device-request', { prefix: '', after: null, limit: 10 });
	assert.equal(stored.length, 1);
	assert(!JSON.stringify(stored).includes(codes.deviceCode));
});

test('a device waits until somebody has approved it, and gets that once', async () => {
	const { clock, auth, flow, codes, ticket, accountId } = await withDevice(true);
	assert.deepEqual(await flow.poll(codes.deviceCode), { status: 'pending' });
	assert.deepEqual(await flow.decide(await ticket(), 'approve'), { status: 'decided', clientHint: 'example program' });
	clock.advance(5000);
	const { account, ...outcome } = { account: null, ...(await flow.poll(codes.deviceCode)) };
	assert.deepEqual(outcome, { status: 'approved', clientHint: 'example program', pair: true });
	assert.deepEqual(account, await auth.accounts.get(accountId));
	clock.advance(5000);
	assert.deepEqual(await flow.poll(codes.deviceCode), { status: 'expired' });
});

test('a denial is told once', async () => {
	const { flow, codes, ticket } = await withDevice();
	await flow.decide(await ticket(), 'deny');
	assert.deepEqual(await flow.poll(codes.deviceCode), { status: 'denied' });
	assert.deepEqual(await flow.poll(codes.deviceCode), { status: 'expired' });
});

test('who asks too soon is told to slow down, which makes nobody wait longer, and nothing is given away then', async () => {
	const { clock, flow, codes, ticket } = await withDevice();
	assert.equal((await flow.poll(codes.deviceCode)).status, 'pending');
	clock.advance(4999);
	assert.equal((await flow.poll(codes.deviceCode)).status, 'too_soon');
	await flow.decide(await ticket(), 'approve');
	assert.equal((await flow.poll(codes.deviceCode)).status, 'too_soon');
	clock.advance(1);
	assert.equal((await flow.poll(codes.deviceCode)).status, 'approved');
});

test('a clock that was set back makes nobody wait until it has caught up', async () => {
	const { clock, flow, codes } = await withDevice();
	assert.equal((await flow.poll(codes.deviceCode)).status, 'pending');
	clock.setNowMs(clock.nowMs() - 3_600_000);
	assert.equal((await flow.poll(codes.deviceCode)).status, 'pending');
	assert.equal((await flow.poll(codes.deviceCode)).status, 'too_soon');
});

test('when its time is over nothing of a request is left', async () => {
	const { clock, flow, codes, ticket } = await withDevice();
	const late = await ticket();
	clock.advance(599_999);
	assert.equal((await flow.poll(codes.deviceCode)).status, 'pending');
	assert.notEqual(await flow.find(codes.userCode), null);
	clock.advance(1);
	assert.deepEqual(await flow.poll(codes.deviceCode), { status: 'expired' });
	assert.equal(await flow.find(codes.userCode), null);
	assert.deepEqual(await flow.decide(late, 'approve'), { status: 'gone' });
});

test('an approval, too, ends when the time of the codes is over', async () => {
	const { clock, flow, codes, ticket } = await withDevice();
	await flow.decide(await ticket(), 'approve');
	clock.advance(600_000);
	assert.deepEqual(await flow.poll(codes.deviceCode), { status: 'expired' });
});

test('a code is found in whatever way it was typed, and nothing else is', async () => {
	const { flow, codes } = await withDevice();
	const bare = codes.userCode.replace('-', '');
	for (const typed of [codes.userCode, bare, codes.userCode.toLowerCase(), ` ${bare.slice(0, 4)} ${bare.slice(4)} `]) {
		assert.equal((await flow.find(typed))?.userCode, codes.userCode, typed);
	}
	for (const typed of ['', '-', bare.slice(1), `${bare}B`, 'AEIO-U010', '../../../x', '\0'.repeat(8), 'x'.repeat(100_000)]) {
		assert.equal(await flow.find(typed), null, typed.slice(0, 20));
	}
});

test('what is no code and no ticket gets nothing', async () => {
	const { flow } = await withDevice();
	for (const made of ['', 'x', 'A'.repeat(43), '__proto__', 'x'.repeat(100_000)]) {
		assert.deepEqual(await flow.poll(made), { status: 'expired' });
		assert.deepEqual(await flow.decide(made, 'approve'), { status: 'gone' });
	}
});

describe('of several at the same time, on two nodes, one wins', () => {
	test('who redeem an approval', async () => {
		const { auth, node, flow, codes, ticket } = await withDevice();
		await flow.decide(await ticket(), 'approve');
		const nodes = [auth, node(), node(), auth].map(flowOf);
		const outcomes = await Promise.all(nodes.map((one) => one.poll(codes.deviceCode)));
		assert.deepEqual(outcomes.map(({ status }) => status).toSorted(), ['approved', 'expired', 'expired', 'expired']);
	});

	test('who decide with the same ticket, or with one each', async () => {
		const { auth, node, ticket, flow, codes } = await withDevice();
		const [first, second] = [await ticket(), await ticket()];
		const other = flowOf(node());
		const device = await flow.find(codes.userCode);
		assert(device !== null);
		const outcomes = await Promise.all([
			flow.decide(first, 'approve'),
			other.decide(first, 'deny'),
			other.decide(second, 'deny'),
			flowOf(auth).deny(device),
		]);
		assert.deepEqual(outcomes.map(({ status }) => status).toSorted(), ['decided', 'gone', 'gone', 'gone']);
		assert.equal(await flow.find(codes.userCode), null);
		assert.deepEqual(await flow.decide(second, 'approve'), { status: 'gone' });
	});

	test('who decide while the device asks: the decision is made', async () => {
		const { node, clock, flow, codes, ticket } = await withDevice();
		const approval = await ticket();
		const [outcome, poll] = await Promise.all([flowOf(node()).decide(approval, 'approve'), flow.poll(codes.deviceCode)]);
		assert.equal(outcome.status, 'decided');
		if (poll.status === 'approved') return;
		clock.advance(5000);
		assert.equal((await flow.poll(codes.deviceCode)).status, 'approved');
	});
});

describe('somebody who signed in before a change of the credentials lets no device in', () => {
	const CHANGES: readonly (readonly [title: string, change: (auth: Auth, accountId: string) => Promise<unknown>])[] = [
		['a new password', (auth, id) => auth.changeAccount(id, { password: 'another password' })],
		[
			'a time in which the account was disabled',
			async (auth, id) => {
				for (const isActive of [false, true]) await auth.changeAccount(id, { isActive });
			},
		],
		['the end of the account', (auth, id) => auth.deleteAccount(id)],
	];
	for (const [title, change] of CHANGES) {
		test(`after ${title}`, async () => {
			const { auth, accountId, flow, codes, ticket } = await withDevice();
			const other = await flow.begin('another program', false);
			const undecided = await ticket();
			const waiting = (await flow.find(other.userCode)) ?? assert.fail();
			const approval = await flow.admit(waiting, (await auth.accounts.get(accountId)) ?? assert.fail());
			await flow.decide(approval, 'approve');
			await change(auth, accountId);
			assert.deepEqual(await flow.decide(undecided, 'approve'), { status: 'gone' });
			assert.deepEqual(await flow.poll(other.deviceCode), { status: 'denied' });
			assert.deepEqual(await flow.poll(codes.deviceCode), { status: 'pending' });
		});
	}

	test('also where a relay 0.3.0 wrote the ticket, which is good until then', async () => {
		const { auth, clock, records, accountId, flow, ticket } = await withDevice();
		await ticket();
		const strip = async (ticketOf: string) => {
			const id = hash('sha256', ticketOf, 'hex');
			const { value, expiresAtMs } = (await records.get('device-ticket', id)) ?? assert.fail();
			const { cv, ...before } = value;
			assert.equal(cv, 0);
			await records.write([{ op: 'put', kind: 'device-ticket', id, value: before, expected: 'present', expiresAtMs }]);
			return ticketOf;
		};
		const [first, second] = [await strip(await ticket()), await strip(await ticket())];
		clock.advance(1000);
		assert.equal((await flow.decide(first, 'approve')).status, 'decided');
		await auth.changeAccount(accountId, { password: 'another password' });
		assert.equal((await flow.decide(second, 'approve')).status, 'gone');
	});
});

test('what a program calls itself is fit to be shown', async () => {
	const { auth } = await withDevice();
	const flow = flowOf(auth);
	for (const [hint, shown] of [
		['  a\r\nb\u0000\u202e\u2028 ', 'a  b'],
		['x'.repeat(10_000), 'x'.repeat(255)],
		['\ud800', '\ufffd'],
		['\n', null],
	] as const) {
		const { userCode } = await flow.begin(hint, false);
		assert.equal((await flow.find(userCode))?.clientHint, shown);
	}
});

test('not more than so many devices can wait at once', async () => {
	const { records, flow, clock } = await withDevice();
	const parts = Array.from({ length: 256 }, (_, part) => part.toString(16).padStart(2, '0'));
	// None of them gives way any more.
	const value = { state: { status: 'approved', accountId: 'somebody' } };
	for (const part of parts) {
		for (const half of [0, 32]) {
			const ops = Array.from({ length: 32 }, (_, i): RecordOp => {
				const id = `${part}${hash('sha256', `${half + i}`, 'hex').slice(2)}`;
				return { op: 'put', kind: 'device-request', id, value, expected: 'any', expiresAtMs: clock.nowMs() + 1000 };
			});
			await records.write(ops);
		}
	}
	await refused(() => flow.begin('one more', false), 'overloaded');
	clock.advance(1000);
	await flow.begin('one more', false);
});

test('a site whose devices fill what there is keeps none of another site waiting', async () => {
	const { flow, clock, records } = await withDevice();
	const begin = (site: string) => flow.begin('device', false, site);
	const list = (prefix: string) => records.list('device-request', { prefix, after: null, limit: 1000 });
	const flood = await begin('flood');
	const { value: template } = (await list('')).find(({ value }) => value['userCode'] === flood.userCode) ?? assert.fail();
	const first = await begin('first');
	const expiresAtMs = clock.nowMs() + 600_000;
	for (let part = 0; part < 256; part++) {
		const prefix = part.toString(16).padStart(2, '0');
		const room = 64 - (await list(prefix)).length;
		const ops = Array.from({ length: room }, (_, i): RecordOp => {
			const id = `${prefix}${hash('sha256', `${i}`, 'hex').slice(2)}`;
			return {
				op: 'put',
				kind: 'device-request',
				id,
				value: { ...template, userCode: `${i}`, expiresAtMs },
				expected: 'any',
				expiresAtMs,
			};
		});
		await records.write(ops.slice(0, 32));
		if (ops.length > 32) await records.write(ops.slice(32));
	}
	for (let i = 0; i < 50; i++) await refused(() => begin('flood'), 'overloaded');
	const others = [first];
	for (let i = 0; i < 300; i++) others.push(await begin(`site ${i}`));
	for (const { userCode } of others) assert((await flow.find(userCode)) !== null, 'it still waits');
	for (let part = 0; part < 256; part++) assert((await list(part.toString(16).padStart(2, '0'))).length <= 64);
});
