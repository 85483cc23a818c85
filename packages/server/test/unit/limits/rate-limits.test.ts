/** Rate limits over several nodes, and while what they share is away. */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { GuessGate } from '../../../src/limits/guess-gate.ts';
import { RateLimit } from '../../../src/limits/rate-limit.ts';
import { RateLimits, type RateLimitsOptions, type RatesPerMinute } from '../../../src/limits/rate-limits.ts';
import type { SharedBuckets } from '../../../src/ports/shared-buckets.ts';
import { createFakeClock, type FakeClock } from '../../support/clock.ts';
import { createModelBuckets } from '../../support/model-buckets.ts';

const PER_MINUTE: RatesPerMinute = { principal: 60, address: 60, login: 5, refresh: 10, device: 10 };

function createNodes(count: number) {
	const clock = createFakeClock();
	const shared = createModelBuckets(clock);
	const changes: boolean[] = [];
	const onSharing: RateLimitsOptions['onSharing'] = ({ sharing }) => void changes.push(sharing);
	const nodes = Array.from({ length: count }, () => new RateLimits({ clock, perMinute: PER_MINUTE, shared, onSharing }));
	return { clock, shared, nodes, changes };
}

/** Five wrong guesses a minute for each name. */
function createGate(clock: FakeClock, shared: SharedBuckets | null) {
	const gate = new GuessGate({ clock, shared });
	const limit = new RateLimit({ name: 'login', clock, perMinute: 5 });
	return { enter: (key: string) => gate.enter([{ limit, key }], key) };
}

type Gate = ReturnType<typeof createGate>;

/** Lets a telling go there and back. */
async function aSecond(clock: FakeClock): Promise<void> {
	clock.advance(1000);
	for (let i = 0; i < 5; i++) await new Promise((resolve) => setImmediate(resolve));
}

test('what one node gives the others have no longer, a second later', async () => {
	const { clock, nodes } = createNodes(3);
	const [one, two] = nodes;
	assert(one !== undefined && two !== undefined);
	one.principals.take('account', 60);
	two.principals.take('account', 1);
	await aSecond(clock);
	assert.equal(two.principals.take('account').allowed, false);
	assert.equal(one.principals.take('account').allowed, false);
	assert.equal(two.principals.take('another').allowed, true);
	for (const node of nodes) node.close();
});

test('over minutes all nodes together give what one may', async () => {
	const { clock, nodes } = createNodes(4);
	let given = 0;
	const minutes = 10;
	for (let second = 0; second < minutes * 60; second++) {
		for (const node of nodes) for (let i = 0; i < 5; i++) if (node.principals.take('account').allowed) given++;
		await aSecond(clock);
	}
	// Each node may start with a full bucket of its own.
	assert(given >= 60 * minutes && given <= 60 * minutes + 4 * 60, String(given));
	for (const node of nodes) node.close();
});

test('a node asks once a second for all that it has given, however much that is', async () => {
	const { clock, shared, nodes } = createNodes(1);
	const [node] = nodes;
	assert(node !== undefined);
	for (let i = 0; i < 1000; i++) {
		node.principals.take(`account ${i % 10}`);
		node.addresses.take([{ name: `address ${i % 10}`, factor: 1 }]);
	}
	assert.equal(shared.calls, 0);
	await aSecond(clock);
	assert.equal(shared.calls, 2, 'one for each limit of which anything was taken');
	await aSecond(clock);
	assert.equal(shared.calls, 2, 'nothing new, nothing asked');
	node.close();
});

test('while the store is away a node goes on alone, and tells it all afterwards', async () => {
	const { clock, shared, nodes, changes } = createNodes(2);
	const [one, two] = nodes;
	assert(one !== undefined && two !== undefined);
	shared.away = true;
	for (let i = 0; i < 40; i++) assert.equal(one.principals.take('account').allowed, true);
	await aSecond(clock);
	await aSecond(clock);
	assert.equal(two.principals.take('account').allowed, true, 'nobody has told');
	assert.deepEqual(changes, [false], 'the operator is told once');
	shared.away = false;
	await aSecond(clock);
	await aSecond(clock);
	two.principals.take('account');
	await aSecond(clock);
	const { remaining } = two.principals.look('account');
	assert(remaining >= 20 && remaining <= 30, String(remaining));
	assert.deepEqual(changes, [false, true]);
	for (const node of nodes) node.close();
});

test('wrong guesses on several nodes are counted together, each at once', async () => {
	const clock = createFakeClock();
	const shared = createModelBuckets(clock);
	const gates = [1, 2, 3].map(() => createGate(clock, shared));
	for (let i = 0; i < 5; i++) {
		const guess = await (gates[i % 3] as Gate).enter('somebody');
		guess.settle(true);
		await new Promise((resolve) => setImmediate(resolve));
	}
	for (const gate of gates) await assert.rejects(gate.enter('somebody'), { code: 'rate_limited', retryAfterS: 12 });
	await (gates[0] as Gate).enter('somebody else');
	clock.advance(12_000);
	await (gates[1] as Gate).enter('somebody');
});

for (const shared of [false, true]) {
	const title = `of guesses that come all at once no more are tried than may be wrong, and right ones all get in${shared ? ', when shared' : ''}`;
	test(title, async () => {
		const clock = createFakeClock();
		const gate = createGate(clock, shared ? createModelBuckets(clock) : null);
		let underWay = 0;
		let most = 0;
		const attempt = async (wrong: boolean) => {
			const guess = await gate.enter('somebody');
			most = Math.max(most, ++underWay);
			for (let i = 0; i <= Math.random() * 3; i++) await new Promise((resolve) => setImmediate(resolve));
			underWay--;
			guess.settle(wrong);
		};
		await Promise.all(Array.from({ length: 200 }, () => attempt(false)));
		assert.equal(most, 5);
		// Wrong ones among right ones take the room of these in the end, and no more than five are tried.
		let wrongTried = 0;
		const outcomes = await Promise.allSettled(
			Array.from({ length: 200 }, async (_, i) => {
				const wrong = i % 10 === 3;
				await attempt(wrong);
				if (wrong) wrongTried++;
			}),
		);
		assert.equal(wrongTried, 5);
		for (const outcome of outcomes) if (outcome.status === 'rejected') assert.equal(outcome.reason.code, 'rate_limited');
		clock.advance(60_000);
		await attempt(true);
	});
}

/** Lets time pass until everything is done. */
async function whileTimePasses<T>(clock: FakeClock, work: Promise<T>): Promise<T> {
	let done = false;
	const ended = work.finally(() => {
		done = true;
	});
	while (!done) {
		await new Promise((resolve) => setImmediate(resolve));
		clock.advance(1);
	}
	return ended;
}

test('of wrong guesses that come all at once at several nodes no more are tried than at one', async () => {
	const clock = createFakeClock();
	const shared = createModelBuckets(clock);
	const gates = [1, 2, 3].map(() => createGate(clock, shared));
	let tried = 0;
	const outcomes = await whileTimePasses(
		clock,
		Promise.allSettled(
			Array.from({ length: 30 }, async (_, i) => {
				const guess = await (gates[i % 3] as Gate).enter('somebody');
				tried++;
				for (let turn = 0; turn < 5; turn++) await new Promise((resolve) => setImmediate(resolve));
				guess.settle(true);
			}),
		),
	);
	assert.equal(tried, 5);
	for (const outcome of outcomes) if (outcome.status === 'rejected') assert.equal(outcome.reason.code, 'rate_limited');
});

test('right ones at several nodes all get in, however many come at once', async () => {
	const clock = createFakeClock();
	const shared = createModelBuckets(clock);
	const gates = [1, 2].map(() => createGate(clock, shared));
	let underWay = 0;
	let most = 0;
	const sign = async (gate: Gate) => {
		const guess = await gate.enter('somebody');
		most = Math.max(most, ++underWay);
		for (let turn = 0; turn < 3; turn++) await new Promise((resolve) => setImmediate(resolve));
		underWay--;
		guess.settle(false);
	};
	await whileTimePasses(clock, Promise.all(Array.from({ length: 100 }, (_, i) => sign(gates[i % 2] as Gate))));
	assert.equal(most, 5);
});

test('a node that dies with guesses under way does not keep the others waiting for long', async () => {
	const clock = createFakeClock();
	const shared = createModelBuckets(clock);
	const [dead, alive] = [createGate(clock, shared), createGate(clock, shared)];
	for (let i = 0; i < 5; i++) await dead.enter('somebody');
	const startedMs = clock.monotonicMs();
	const refused = await whileTimePasses(
		clock,
		alive.enter('somebody').then(
			() => null,
			(error: unknown) => error,
		),
	);
	// Its own waiting is bounded, and by then the places of the dead are free again.
	assert(clock.monotonicMs() - startedMs <= 15_500, String(clock.monotonicMs() - startedMs));
	if (refused !== null) await whileTimePasses(clock, alive.enter('somebody'));
});

test('while the store is away each node lets as many through as it knows of', async () => {
	const clock = createFakeClock();
	const shared = createModelBuckets(clock);
	const gates = [createGate(clock, shared), createGate(clock, shared)];
	shared.away = true;
	for (const gate of gates) {
		for (let i = 0; i < 5; i++) (await gate.enter('somebody')).settle(true);
		await assert.rejects(gate.enter('somebody'), { code: 'rate_limited' });
	}
});

test('a guess that waits at one limit keeps nobody waiting who waits at another', async () => {
	const clock = createFakeClock();
	const gate = new GuessGate({ clock, shared: null });
	const limits = ['account', 'address'].map((name) => new RateLimit({ name, clock, perMinute: 1 }));
	const [account, address] = limits.map((limit) => (key: string) => ({ limit, key }));
	assert(account !== undefined && address !== undefined);
	const enter = (a: string, b: string) => gate.enter([account(a), address(b)], b);
	const first = await enter('a', 'x');
	const other = await enter('b', 'y');
	// Waits for the account, and then for the address, while the next waits for the account alone.
	const both = enter('a', 'y');
	const single = enter('a', 'z');
	first.settle(false);
	(await single).settle(false);
	other.settle(false);
	(await both).settle(false);
});

test('clients that wait leave room for others to wait, too', async () => {
	const clock = createFakeClock();
	const gate = new GuessGate({ clock, shared: null });
	const limit = new RateLimit({ name: 'login', clock, perMinute: 1 });
	const enter = (client: string) => gate.enter([{ limit, key: client }], client);
	const guesses = await Promise.all([enter('flood'), enter('other')]);
	const waiting = Array.from({ length: 600 }, () => enter('flood'));
	const refused = Promise.allSettled(waiting);
	const others = [enter('other'), enter('other')];
	guesses[1].settle(false);
	for (const guess of others) (await guess).settle(false);
	guesses[0].settle(true);
	const codes = (await refused).map((outcome) => (outcome.status === 'rejected' ? outcome.reason.code : 'let in'));
	assert.equal(codes.filter((code) => code === 'too_many_logins').length, 100);
	assert.equal(codes.filter((code) => code === 'rate_limited').length, 500);
});

test('a client with many addresses has no more guesses under way than one, and others are tried beside them', async () => {
	const clock = createFakeClock();
	const gate = new GuessGate({ clock, shared: null });
	const limit = new RateLimit({ name: 'login', clock, perMinute: 1000 });
	let underWay = 0;
	const enter = async (address: string, client: string) => {
		const guess = await gate.enter([{ limit, key: address }], client);
		underWay++;
		return guess;
	};
	const flood = Array.from({ length: 200 }, (_, i) => enter(`address ${i}`, 'a network'));
	for (let turn = 0; turn < 10; turn++) await new Promise((resolve) => setImmediate(resolve));
	assert.equal(underWay, 50);
	(await enter('another', 'another')).settle(false);
	for (const guess of flood) (await guess).settle(false);
	assert.equal(underWay, 201);
});
