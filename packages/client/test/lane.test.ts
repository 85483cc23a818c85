/** The life of a connection, on a clock that only moves when told to: transports, waits, tokens, sleep. */

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { setImmediate as turn } from 'node:timers/promises';
import { createFakeClock } from '../../server/test/support/clock.ts';
import type { Clock } from '../src/clock.ts';
import { type Gap, RelayError } from '../src/errors.ts';
import { Lane, type Subscription } from '../src/lane.ts';
import type { Link, LinkEnd, LinkEvents, TransportKind } from '../src/links/link.ts';
import type { RelayStatus } from '../src/status.ts';
import { type TokenOption, TokenSource } from '../src/token-source.ts';

/** A link that does what the test says. */
interface FakeLink {
	readonly kind: TransportKind;
	readonly events: LinkEvents;
	readonly token: string | null;
	readonly topics: Set<string>;
	readonly refreshed: string[];
	probes: number;
	closed: boolean;
	/** Follows everything it was asked for. */
	open(cursor?: string): void;
	message(topic: string, id: string): void;
}

interface World {
	readonly lane: Lane;
	readonly links: FakeLink[];
	readonly statuses: RelayStatus[];
	/** The link opened last. */
	readonly link: FakeLink;
	advance(ms: number): Promise<void>;
	follow(
		topic: string,
		position?: string,
	): { readonly subscription: Subscription; readonly ids: string[]; readonly gaps: Gap[]; ended(): RelayError | null };
}

function createWorld({
	kinds = ['ws', 'sse', 'poll'],
	token,
}: {
	kinds?: readonly TransportKind[];
	token?: TokenOption;
} = {}): World {
	const fake = createFakeClock();
	const clock: Clock = { nowMs: () => fake.monotonicMs(), after: (ms, run) => fake.after(ms, run), random: () => 1 };
	const links: FakeLink[] = [];
	const statuses: RelayStatus[] = [];
	const lane = new Lane({
		clock,
		tokens: new TokenSource(token, clock),
		kinds,
		onStatus: (status) => statuses.push(status),
		openLink(kind, { events, token: withToken }): Link {
			const topics = new Set<string>();
			const link: FakeLink = {
				kind,
				events,
				token: withToken,
				topics,
				refreshed: [],
				probes: 0,
				closed: false,
				open(cursor = '1-0') {
					events.alive();
					events.following(new Map([...topics].map((topic) => [topic, cursor])));
				},
				message: (topic, id) =>
					events.message(`{"type":"message","message_id":"${id}","topic":"${topic}","payload":1,"metadata":{}}`),
			};
			links.push(link);
			return {
				kind,
				follow: (names) => {
					for (const name of names) topics.add(name);
				},
				unfollow: (names) => {
					for (const name of names) topics.delete(name);
				},
				probe: () => {
					link.probes++;
				},
				refresh: (renewed) => link.refreshed.push(renewed),
				close: () => {
					link.closed = true;
				},
			};
		},
	});
	return {
		lane,
		links,
		statuses,
		get link() {
			return links.at(-1) ?? assert.fail('no link was opened');
		},
		async advance(ms) {
			fake.advance(ms);
			await turn();
		},
		follow(topic, position = 'last') {
			const ids: string[] = [];
			const gaps: Gap[] = [];
			let error: RelayError | null = null;
			const subscription: Subscription = {
				topic,
				position,
				lastGap: null,
				message: ({ id }) => ids.push(id),
				gap: (gap) => gaps.push(gap),
				ended: (why) => {
					error = why;
				},
			};
			lane.add([subscription]);
			return { subscription, ids, gaps, ended: () => error };
		},
	};
}

const LOST: LinkEnd = { kind: 'lost', error: new RelayError('unreachable', 'broken') };
const UNREACHABLE: LinkEnd = { kind: 'unreachable', error: new RelayError('unreachable', 'nobody there') };
const refused = (code: string, status: number): LinkEnd => ({ kind: 'refused', error: new RelayError(code, code, { status }) });

describe('transports', () => {
	test('three losses before a transport has proved itself lead to the next', async () => {
		const world = createWorld();
		world.follow('a');
		await world.advance(0);
		for (let i = 0; i < 3; i++) {
			assert.equal(world.link.kind, 'ws');
			world.link.open();
			await world.advance(4000);
			world.link.events.ended(LOST);
			await world.advance(5000);
		}
		assert.equal(world.link.kind, 'sse');
	});

	test('a transport that delivered and lived 5 s is kept, however often it breaks', async () => {
		const world = createWorld();
		world.follow('a');
		await world.advance(0);
		for (let i = 0; i < 5; i++) {
			world.link.open();
			await world.advance(5000);
			world.link.events.ended(LOST);
			await world.advance(5000);
		}
		assert.equal(world.link.kind, 'ws');
	});

	test('a relay that is gone, refuses or drains says nothing against a transport', async () => {
		const world = createWorld();
		world.follow('a');
		await world.advance(0);
		for (const end of [
			UNREACHABLE,
			refused('too_many_connections', 503),
			{ kind: 'drained', retryAfterMs: 100 } as const,
			UNREACHABLE,
		]) {
			world.link.events.ended(end);
			await world.advance(5000);
			assert.equal(world.link.kind, 'ws');
		}
	});

	test('a better transport takes over when it has proved itself, and not before', async () => {
		const world = createWorld();
		const { ids } = world.follow('a');
		await world.advance(0);
		for (let i = 0; i < 3; i++) {
			world.link.events.ended(LOST);
			await world.advance(5000);
		}
		const sse = world.link;
		sse.open();
		sse.message('a', '2-0');
		for (let i = 0; i < 30; i++) {
			assert.equal(world.link, sse);
			await world.advance(10_000);
			sse.events.alive();
		}
		const ws = world.link;
		assert.equal(ws.kind, 'ws');
		ws.open();
		ws.message('a', '3-0');
		sse.message('a', '3-0');
		sse.message('a', '4-0');
		await world.advance(4999);
		assert.equal(sse.closed, false);
		await world.advance(1);
		assert.equal(sse.closed, true);
		ws.message('a', '4-0');
		ws.message('a', '5-0');
		assert.deepEqual(ids, ['2-0', '3-0', '4-0', '5-0']);
		assert.deepEqual(world.statuses.at(-1), { state: 'live', transport: 'ws' });
	});

	test('a better transport that fails leaves the one that works alone', async () => {
		const world = createWorld({ kinds: ['ws', 'poll'] });
		world.follow('a');
		await world.advance(0);
		for (let i = 0; i < 3; i++) {
			world.link.events.ended(LOST);
			await world.advance(5000);
		}
		const poll = world.link;
		poll.open();
		world.lane.online();
		await world.advance(0);
		assert.equal(world.link.kind, 'ws');
		world.link.events.ended(LOST);
		assert.equal(poll.closed, false);
		assert.deepEqual(world.statuses.at(-1), { state: 'live', transport: 'poll' });
	});

	test('a link that does not answer within 10 s is given up', async () => {
		const world = createWorld();
		world.follow('a');
		await world.advance(0);
		const silent = world.link;
		await world.advance(10_000);
		assert.equal(silent.closed, true);
		assert.equal(world.statuses.at(-1)?.state, 'offline');
	});
});

describe('waiting', () => {
	test('the wait grows to 20 s and is short again after a transport has proved itself', async () => {
		const world = createWorld();
		world.follow('a');
		await world.advance(0);
		const waits: number[] = [];
		for (let i = 0; i < 9; i++) {
			world.link.events.ended(UNREACHABLE);
			const status = world.statuses.at(-1);
			assert(status?.state === 'offline');
			waits.push(status.retryInMs);
			await world.advance(status.retryInMs);
		}
		assert.deepEqual(waits, [250, 500, 1000, 2000, 4000, 8000, 16_000, 20_000, 20_000]);
		world.link.open();
		await world.advance(5000);
		world.link.events.ended(LOST);
		const status = world.statuses.at(-1);
		assert(status?.state === 'offline');
		assert.equal(status.retryInMs, 250);
	});

	test('the delay that a relay gives wins', async () => {
		const world = createWorld();
		world.follow('a');
		await world.advance(0);
		world.link.events.ended({ kind: 'drained', retryAfterMs: 7000 });
		await world.advance(6999);
		assert.equal(world.links.length, 1);
		await world.advance(1);
		assert.equal(world.links.length, 2);
	});

	test('the network that is back ends the wait', async () => {
		const world = createWorld();
		world.follow('a');
		await world.advance(0);
		world.link.events.ended({ kind: 'drained', retryAfterMs: 7000 });
		world.lane.online();
		await world.advance(0);
		assert.equal(world.links.length, 2);
	});
});

describe('life signs', () => {
	test('a link that is silent is asked, and given up when it does not answer', async () => {
		const world = createWorld();
		world.follow('a');
		await world.advance(0);
		const link = world.link;
		link.open();
		await world.advance(28_000);
		assert.equal(link.probes, 1);
		link.events.alive();
		await world.advance(28_000);
		assert.equal(link.probes, 2);
		await world.advance(10_000);
		assert.equal(link.closed, true);
	});

	test('after a sleep the answer must come within 3 s', async () => {
		const world = createWorld();
		world.follow('a');
		await world.advance(0);
		const link = world.link;
		link.open();
		world.lane.wake();
		assert.equal(link.probes, 1);
		await world.advance(3000);
		assert.equal(link.closed, true);
	});

	test('nothing need come while every read has enough', async () => {
		const world = createWorld();
		const { subscription } = world.follow('a');
		await world.advance(0);
		world.link.open();
		world.lane.pause([subscription]);
		await world.advance(200_000);
		assert.equal(world.link.probes, 0);
		assert.equal(world.link.closed, false);
		world.lane.resume([subscription]);
		assert.deepEqual([...world.link.topics], ['a']);
	});
});

describe('tokens', () => {
	const jwt = (lifetimeS: number, mark: string) => `x.${btoa(JSON.stringify({ iat: 5, exp: 5 + lifetimeS, mark }))}.x`;

	test('one that is refused is replaced once; a second refusal ends it', async () => {
		let calls = 0;
		const world = createWorld({ token: () => `t${++calls}` });
		const { ended } = world.follow('a');
		await world.advance(0);
		assert.equal(world.link.token, 't1');
		world.link.events.ended(refused('invalid_credentials', 401));
		await world.advance(0);
		assert.equal(world.link.token, 't2');
		world.link.events.ended(refused('invalid_credentials', 401));
		assert.equal(ended()?.code, 'token_refused');
		assert.equal(calls, 2);
	});

	test('one that expired after it was good is replaced, any number of times', async () => {
		let calls = 0;
		const world = createWorld({ token: () => `t${++calls}` });
		world.follow('a');
		await world.advance(0);
		for (let i = 1; i <= 5; i++) {
			assert.equal(world.link.token, `t${i}`);
			world.link.open();
			world.link.events.ended(refused('credentials_expired', 401));
			await world.advance(0);
		}
		assert.equal(calls, 6);
	});

	test('a fixed one that is refused ends it with the error of the relay', async () => {
		const world = createWorld({ token: 'fixed' });
		const { ended } = world.follow('a');
		await world.advance(0);
		world.link.events.ended(refused('invalid_credentials', 401));
		assert.equal(ended()?.code, 'invalid_credentials');
	});

	test('it is renewed on the connection before it expires, whatever the clock of the machine says', async () => {
		let calls = 0;
		const world = createWorld({ token: () => jwt(600, `${++calls}`) });
		world.follow('a');
		await world.advance(0);
		const link = world.link;
		link.open();
		for (let i = 0; i < 57; i++) {
			await world.advance(10_000);
			link.events.alive();
		}
		assert.deepEqual(link.refreshed, [jwt(600, '2')]);
		assert.equal(link.closed, false);
	});

	test('a function that fails or hangs is called again later', async () => {
		let calls = 0;
		const world = createWorld({
			token: () => {
				calls++;
				if (calls === 1) throw new Error('the back end is down');
				return calls === 2 ? new Promise<string>(() => {}) : 'good';
			},
		});
		world.follow('a');
		await world.advance(0);
		const status = world.statuses.at(-1);
		assert(status?.state === 'offline');
		assert.equal(status.error.code, 'token_failed');
		await world.advance(250);
		await world.advance(15_000);
		await world.advance(500);
		await world.advance(500);
		assert.equal(world.link.token, 'good');
	});
});

describe('ends', () => {
	test('an answer that is no relay ends it before a relay was ever reached, and passes after', async () => {
		const portal: LinkEnd = { kind: 'lost', error: new RelayError('not_a_relay', 'a page', { status: 200 }) };
		const first = createWorld({ kinds: ['poll'] });
		const { ended } = first.follow('a');
		await first.advance(0);
		first.link.events.ended(portal);
		assert.equal(ended()?.code, 'not_a_relay');

		const second = createWorld({ kinds: ['poll'] });
		second.follow('a');
		await second.advance(0);
		second.link.open();
		second.link.events.ended(portal);
		assert.equal(second.statuses.at(-1)?.state, 'offline');
	});

	test('what comes after a gap back in the log is delivered, and a gap is reported once', async () => {
		const world = createWorld();
		const { ids, gaps } = world.follow('a', '9-0');
		await world.advance(0);
		world.link.open();
		const gap: Gap = { topic: 'a', reason: 'ahead', from: '9-0', to: '4-0' };
		world.link.events.gap(gap);
		world.link.events.gap(gap);
		world.link.message('a', '5-0');
		assert.deepEqual(ids, ['5-0']);
		assert.equal(gaps.length, 1);
	});

	test('nothing of a topic that was left is delivered', async () => {
		const world = createWorld();
		const { ids, subscription } = world.follow('a');
		world.follow('b');
		await world.advance(0);
		world.link.open();
		world.lane.remove([subscription]);
		world.link.message('a', '2-0');
		assert.deepEqual(ids, []);
		assert.deepEqual([...world.link.topics], ['b']);
	});
});
