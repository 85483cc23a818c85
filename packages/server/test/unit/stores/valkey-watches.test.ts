/** What a node makes of announcements that reach it twice, in any order, or not at all: the chain, each piece once. */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { compareMessageIds, formatMessageId, type MessageId, ZERO_ID } from '@pulsar-relay/protocol/message-id';
import fc from 'fast-check';
import type { Block } from '../../../src/log/block.ts';
import type { WatchedPosition } from '../../../src/ports/store.ts';
import { Watches } from '../../../src/stores/valkey/watches.ts';
import { createFakeClock } from '../../support/clock.ts';
import { blockOf, message } from '../relay/support/blocks.ts';

const TOPIC = 't';
/** Well over the time that a missing piece may be on its way. */
const LONG_MS = 250;

interface Piece {
	readonly previous: MessageId;
	readonly block: Block;
}

/** A block of one message after another one, as a node hears of it. */
function pieceAfter(previous: MessageId, ms: number): Piece {
	return { previous, block: blockOf(ms, 0, [message(String(ms))]) };
}

function channelMessage({ previous, block }: Piece, body: Uint8Array = block.packed): Uint8Array {
	const [from, to] = [previous, { ms: block.ms, n: block.n }].map(formatMessageId);
	return Buffer.concat([Buffer.from(`a ${from} 0-0 ${to} ${to} \n`), body]);
}

function setUp() {
	const clock = createFakeClock();
	const looks: string[] = [];
	const told: string[] = [];
	const watches = new Watches({ clock, look: (topics) => looks.push(...topics) });
	watches.listen({
		appended: (_topic, previous, _floor, block) => told.push(`${previous.ms}>${block.ms}`),
		trimmed: (_topic, floor) => told.push(`trimmed ${floor.ms}`),
		deleted: (_topic, tip) => told.push(`deleted ${tip.ms}`),
		repositioned: (_topic, { tip, intact }) => told.push(`${intact ? 'at' : 'lost, at'} ${tip.ms}`),
	});
	const own = (piece: Piece) => watches.appended(TOPIC, piece.previous, ZERO_ID, piece.block);
	const hear = (piece: Piece) => watches.heard(TOPIC, channelMessage(piece));
	const hearText = (text: string) => watches.heard(TOPIC, Buffer.from(`${text}\n`));
	const openAt = (ms: number, exists = true) => {
		watches.open(TOPIC);
		watches.opened(TOPIC, position(ms, { exists }));
	};
	return { clock, looks, told, watches, own, hear, hearText, openAt };
}

function at(ms: number): MessageId {
	return { ms, n: 0 };
}

function position(ms: number, more: Partial<WatchedPosition> = {}): WatchedPosition {
	return { exists: true, tip: at(ms), floor: ZERO_ID, intact: true, ...more };
}

const one = pieceAfter(at(1), 2);
const two = pieceAfter(at(2), 3);
const three = pieceAfter(at(3), 4);

test('a piece is told once, whether its answer or its echo comes first', () => {
	const { own, hear, told, openAt } = setUp();
	openAt(1);
	own(one);
	hear(one);
	hear(two);
	own(two);
	assert.deepEqual(told, ['1>2', '2>3']);
});

test('pieces that come before the one they follow wait for it, in whatever order', () => {
	for (const order of [
		[three, two, one],
		[two, three, one],
		[three, one, two],
		[two, one, three],
	]) {
		const { hear, told, looks, openAt } = setUp();
		openAt(1);
		for (const piece of order) hear(piece);
		assert.deepEqual(told, ['1>2', '2>3', '3>4']);
		assert.deepEqual(looks, []);
	}
});

test('what is heard before the position is known is told after it, as far as the position does not count it in', () => {
	const { watches, hear, told } = setUp();
	watches.open(TOPIC);
	for (const piece of [one, three, two]) hear(piece);
	assert.deepEqual(told, []);
	watches.opened(TOPIC, position(2));
	assert.deepEqual(told, ['2>3', '3>4']);
});

test('a missing piece is looked for after a moment, and the node reads from there', () => {
	const { watches, hear, told, looks, clock, openAt } = setUp();
	openAt(1);
	hear(three);
	clock.advance(50);
	assert.deepEqual(looks, [], 'it may still be on its way');
	clock.advance(100);
	assert.deepEqual(looks, [TOPIC]);
	watches.found(TOPIC, at(1), position(4));
	assert.deepEqual(told, [], 'it may be on its way even now');
	clock.advance(LONG_MS);
	assert.deepEqual(told, ['at 4']);
	hear(two);
	hear(three);
	assert.deepEqual(told, ['at 4']);
	assert.equal(clock.timers, 0);
});

test('a position that is ahead changes nothing when the announcements come after all', () => {
	const { watches, hear, told, clock, openAt } = setUp();
	openAt(1);
	watches.found(TOPIC, at(1), position(3));
	hear(one);
	hear(two);
	clock.advance(LONG_MS);
	assert.deepEqual(told, ['1>2', '2>3']);
});

test('after an outage a position that is ahead counts at once', () => {
	const { watches, hear, told, openAt } = setUp();
	openAt(1);
	watches.foundAfterOutage(TOPIC, at(1), position(3));
	hear(two);
	hear(three);
	assert.deepEqual(told, ['at 3', '3>4']);
});

test('a loss is told once, however many looks find it', () => {
	const { watches, told, openAt } = setUp();
	openAt(5);
	const lost = position(2, { intact: false });
	watches.found(TOPIC, at(5), lost);
	watches.found(TOPIC, at(5), lost);
	watches.foundAfterOutage(TOPIC, at(5), lost);
	assert.deepEqual(told, ['lost, at 2']);
});

test('a piece that was appended after a message below ours makes the node look, and what follows is told', () => {
	const { watches, hear, told, looks, openAt } = setUp();
	openAt(5);
	hear(pieceAfter(at(2), 9));
	assert.deepEqual(looks, [TOPIC]);
	watches.found(TOPIC, at(5), position(9, { intact: false }));
	hear(pieceAfter(at(9), 10));
	assert.deepEqual(told, ['lost, at 9', '9>10']);
});

test('a caller that has watched again goes on from the position it was given: what was appended after one below it is looked at', () => {
	const { watches, hear, told, looks, openAt } = setUp();
	openAt(5);
	watches.opened(TOPIC, position(7));
	// The store has lost 6 and 7, and has gone on.
	hear(pieceAfter(at(5), 9));
	assert.deepEqual(told, ['at 7']);
	assert.deepEqual(looks, [TOPIC]);
});

test('a deletion is told once, by whichever way it is heard of first', () => {
	for (const first of ['own', 'channel', 'look']) {
		const { watches, told, hearText, openAt } = setUp();
		openAt(5);
		const ways = {
			own: () => watches.deleted(TOPIC, at(5), 'id'),
			channel: () => hearText('d 5-0 id'),
			look: () => watches.found(TOPIC, watches.tipOf(TOPIC), position(5, { exists: false, floor: at(5) })),
		};
		ways[first as keyof typeof ways]();
		for (const way of Object.values(ways)) way();
		assert.deepEqual(told, ['deleted 5'], `${first} first`);
	}
});

test('the deletions of a topic and of the one that is made after it are two', () => {
	const { hear, told, hearText, openAt } = setUp();
	openAt(1);
	hearText('d 1-0 first');
	hear(one);
	hearText('d 2-0 second');
	hearText('d 2-0 third');
	assert.deepEqual(told, ['deleted 1', '1>2', 'deleted 2', 'deleted 2'], 'also of one that was never written to');
});

test('a topic that did not exist when it was watched is not told to be deleted', () => {
	const { watches, told, openAt } = setUp();
	openAt(5, false);
	watches.found(TOPIC, at(5), position(5, { exists: false }));
	assert.deepEqual(told, []);
});

test('a floor is told when it rises, once', () => {
	const { watches, told, hearText, openAt } = setUp();
	openAt(9);
	hearText('t 3-0');
	watches.trimmed(TOPIC, at(3));
	watches.found(TOPIC, at(9), position(9, { floor: at(2) }));
	watches.found(TOPIC, at(9), position(9, { floor: at(4) }));
	assert.deepEqual(told, ['trimmed 3', 'trimmed 4']);
});

test('a run without its messages, or with others than it says, is a position to read up to', () => {
	const { watches, told, openAt } = setUp();
	openAt(1);
	watches.heard(TOPIC, channelMessage(one, Buffer.alloc(0)));
	watches.heard(TOPIC, channelMessage(two, blockOf(0, 0, [message('1'), message('2')]).packed));
	assert.deepEqual(told, ['at 2', 'at 3']);
});

test('more pieces than wait for a missing one make the node look rather than hold them', () => {
	const { hear, looks, told, openAt } = setUp();
	openAt(1);
	for (let i = 0; i < 300; i++) hear(pieceAfter(at(10 + i), 11 + i));
	assert.deepEqual(looks, [TOPIC]);
	assert.deepEqual(told, []);
});

test('of a topic that is not watched its own appends are told, and nothing else', () => {
	const { watches, own, hear, told, clock } = setUp();
	own(one);
	hear(two);
	watches.open(TOPIC);
	hear(two);
	watches.drop([TOPIC]);
	hear(three);
	watches.found(TOPIC, ZERO_ID, position(9));
	clock.advance(LONG_MS);
	assert.deepEqual(told, ['1>2']);
	assert.equal(clock.timers, 0);
});

/** A step of the property below: what happens at the server, on the way, or at the node. */
const steps = fc.array(
	fc.oneof(
		{ weight: 4, arbitrary: fc.record({ kind: fc.constant('append' as const), own: fc.boolean(), announced: fc.boolean() }) },
		{ weight: 1, arbitrary: fc.record({ kind: fc.constant('lose' as const), messages: fc.integer({ min: 1, max: 4 }) }) },
		{
			weight: 6,
			arbitrary: fc.record({ kind: fc.constantFrom('channel', 'answer', 'look', 'found') }),
		},
		{ weight: 2, arbitrary: fc.record({ kind: fc.constant('wait' as const), ms: fc.integer({ min: 1, max: 150 }) }) },
	),
	{ maxLength: 80, size: 'max' },
);

/** A server with one topic, what is on its way from it to a node, and the node, whose listener checks what it is told. */
class World {
	readonly clock = createFakeClock();
	readonly #log: MessageId[] = [];
	#ms = 0;
	readonly #channel: Piece[] = [];
	readonly #answers: Piece[] = [];
	readonly #looks: { readonly seen: MessageId; readonly found: WatchedPosition }[] = [];
	readonly #watches = new Watches({ clock: this.clock, look: () => this.look() });
	/** The newest message that the listener was told of. */
	cursor = ZERO_ID;

	constructor() {
		this.#watches.listen({
			appended: (_topic, previous, _floor, block) => {
				assert.deepEqual(previous, this.cursor, 'follows what was told before it');
				this.cursor = { ms: block.ms, n: block.n };
			},
			trimmed: () => assert.fail('nothing was trimmed'),
			deleted: () => assert.fail('nothing was deleted'),
			repositioned: (_topic, { tip, intact }) => {
				if (intact) assert.ok(compareMessageIds(tip, this.cursor) > 0, 'ahead');
				this.cursor = tip;
			},
		});
		this.#watches.open(TOPIC);
		this.#watches.opened(TOPIC, position(0, { exists: false }));
	}

	get tip(): MessageId {
		return this.#log.at(-1) ?? ZERO_ID;
	}

	append(own: boolean, announced: boolean): void {
		const piece = pieceAfter(this.tip, ++this.#ms);
		this.#log.push(at(this.#ms));
		if (own) this.#answers.push(piece);
		if (announced) this.#channel.push(piece);
	}

	lose(messages: number): void {
		this.#log.splice(-messages, messages);
	}

	/** The node asks where the topic stands; the server answers, and the answer is on its way. */
	look(): void {
		const seen = this.#watches.tipOf(TOPIC);
		const intact = seen.ms === 0 || this.#log.some((id) => id.ms === seen.ms);
		this.#looks.push({ seen, found: position(this.tip.ms, { intact }) });
	}

	/** Something arrives. False when nothing of the kind was on its way. */
	arrive(what: 'channel' | 'answer' | 'found'): boolean {
		if (what === 'found') {
			const look = this.#looks.shift();
			if (look !== undefined) this.#watches.found(TOPIC, look.seen, look.found);
			return look !== undefined;
		}
		const piece = (what === 'channel' ? this.#channel : this.#answers).shift();
		if (piece === undefined) return false;
		if (what === 'channel') this.#watches.heard(TOPIC, channelMessage(piece));
		else this.#watches.appended(TOPIC, piece.previous, ZERO_ID, piece.block);
		return true;
	}

	close(): void {
		this.#watches.close();
	}
}

test('any interleaving of answers, announcements, losses and looks gives a chain without hole or repetition, up to the tip', () => {
	fc.assert(
		fc.property(steps, (sequence) => {
			const world = new World();
			for (const step of sequence) {
				if (step.kind === 'append') world.append(step.own, step.announced);
				else if (step.kind === 'lose') world.lose(step.messages);
				else if (step.kind === 'wait') world.clock.advance(step.ms);
				else if (step.kind === 'look') world.look();
				else world.arrive(step.kind);
			}
			while (world.arrive('channel') || world.arrive('answer'));
			for (let i = 0; i < 4; i++) {
				world.look();
				while (world.arrive('found'));
				world.clock.advance(LONG_MS);
			}
			assert.deepEqual(world.cursor, world.tip, 'nobody is left behind');
			world.close();
			assert.equal(world.clock.timers, 0);
		}),
		{ numRuns: 1000 },
	);
});
