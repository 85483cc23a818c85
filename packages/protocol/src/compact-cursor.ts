/**
 * The short form of a cursor over several topics (PROTOCOL.md, "Cursors"): `~`, a checksum of the topics, and a position for each of them in
 * the order of their names. It names no topic, so whoever reads it must know for which topics it was made.
 *
 * Numbers are written in base 32, lowest digit first, each digit one character of base64url with 32 added while more follow. A position is
 * the distance of its milliseconds from a base that is written once; a run of topics at `0-0` is its length.
 */

import { type MessageId, ZERO_ID } from './message-id.ts';

const MARK = '~';
const ALPHABET = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_';
const VALUES: ReadonlyMap<string, number> = new Map(Array.from(ALPHABET, (character, value) => [character, value]));
const DIGIT = 32;
/** Characters of the checksum: 32 bits, five of them in each. */
const CHECKSUM_LENGTH = 7;
/** Positions further from the base than this are written in full: no relay hands out such ids, but operators can make them. */
const DISTANCE_MAX = 2 ** 48;

/** What stands for topics: a run of them at `0-0`, one without a position, one with a position in full, or, from here on, with a distance. */
const ZEROS = 0;
const ABSENT = 1;
const IN_FULL = 2;
const FIRST_DISTANCE = 3;

/** Whether a text is such a cursor, or meant to be one. */
export function isCompactCursor(text: string): boolean {
	return text.startsWith(MARK);
}

/** Writes cursors over the same topics one after the other, as an event stream does: what has not changed is not written anew. */
export class CompactCursor {
	readonly #head: string;
	readonly #baseMs: number;
	/** In the order of their names. */
	readonly #places: ReadonlyMap<string, number>;
	/** Null for a topic at `0-0`. */
	readonly #parts: (string | null)[];

	/** @param positions the topics, with the position of each */
	constructor(positions: ReadonlyMap<string, MessageId>) {
		const topics = inOrder(positions.keys());
		this.#baseMs = [...positions.values()].reduce((newest, { ms }) => Math.max(newest, ms), 0);
		this.#head = `${MARK}${checksumOf(topics)}${digits(this.#baseMs)}`;
		this.#places = new Map(topics.map((topic, place) => [topic, place]));
		this.#parts = topics.map((topic) => this.#part(positions.get(topic) ?? ZERO_ID));
	}

	/** Moves a topic on; one that is not among the topics is passed over. */
	move(topic: string, id: MessageId): void {
		const place = this.#places.get(topic);
		if (place !== undefined) this.#parts[place] = this.#part(id);
	}

	/** Leaves a topic without a position: whoever resumes from here follows it from its end. */
	drop(topic: string): void {
		const place = this.#places.get(topic);
		if (place !== undefined) this.#parts[place] = digits(ABSENT);
	}

	toString(): string {
		let text = this.#head;
		let zeros = 0;
		for (const part of this.#parts) {
			if (part === null) {
				zeros++;
				continue;
			}
			if (zeros > 0) text += run(zeros);
			zeros = 0;
			text += part;
		}
		return zeros > 0 ? text + run(zeros) : text;
	}

	#part({ ms, n }: MessageId): string | null {
		if (ms === 0 && n === 0) return null;
		const distance = ms - this.#baseMs;
		if (Math.abs(distance) > DISTANCE_MAX) return digits(IN_FULL) + digits(ms) + digits(n);
		const zigzag = distance < 0 ? -2 * distance - 1 : 2 * distance;
		return digits(FIRST_DISTANCE + 2 * zigzag + (n === 0 ? 0 : 1)) + (n === 0 ? '' : digits(n));
	}
}

/** Reads a cursor that was made for these topics, in any order. Undefined when it was not, or is none. */
export function parseCompactCursor(text: string, topics: readonly string[]): Map<string, MessageId> | undefined {
	const ordered = inOrder(topics);
	const head = `${MARK}${checksumOf(ordered)}`;
	if (!text.startsWith(head)) return undefined;
	const numbers = readNumbers(text.slice(head.length));
	if (numbers === undefined) return undefined;
	const positions = new Map<string, MessageId>();
	let at = 0;
	const next = () => numbers[at++] ?? Number.NaN;
	const baseMs = next();
	let place = 0;
	while (at < numbers.length) {
		const value = next();
		if (value === ABSENT) {
			place++;
		} else if (value === ZEROS) {
			const end = place + next();
			if (!(end > place && end <= ordered.length)) return undefined;
			while (place < end) positions.set(ordered[place++] ?? '', ZERO_ID);
		} else {
			const topic = ordered[place++];
			const id = value === IN_FULL ? { ms: next(), n: next() } : idAt(baseMs, value - FIRST_DISTANCE, next);
			if (topic === undefined || !(Number.isSafeInteger(id.ms) && id.ms >= 0 && Number.isSafeInteger(id.n))) return undefined;
			positions.set(topic, id);
		}
	}
	return place === ordered.length ? positions : undefined;
}

/** The id at a distance, which says whether its second part follows. */
function idAt(baseMs: number, distance: number, next: () => number): MessageId {
	const zigzag = Math.floor(distance / 2);
	const ms = baseMs + (zigzag % 2 === 1 ? -(zigzag + 1) / 2 : zigzag / 2);
	return { ms, n: distance % 2 === 1 ? next() : 0 };
}

function inOrder(topics: Iterable<string>): string[] {
	// By code unit, not by a locale: every relay must find the same order.
	return [...topics].sort((a, b) => (a < b ? -1 : a > b ? 1 : 0));
}

function run(zeros: number): string {
	return digits(ZEROS) + digits(zeros);
}

/** FNV-1a over the names, 32 bits: it notices that a cursor is used for other topics, and does not defend against anybody. */
function checksumOf(topics: readonly string[]): string {
	let hash = 0x811c9dc5;
	for (const character of topics.join(',')) {
		hash = Math.imul(hash ^ (character.codePointAt(0) ?? 0), 0x01000193);
	}
	let left = hash >>> 0;
	let text = '';
	for (let i = 0; i < CHECKSUM_LENGTH; i++) {
		text += ALPHABET[left % DIGIT];
		left = Math.floor(left / DIGIT);
	}
	return text;
}

function digits(number: number): string {
	let text = '';
	let left = number;
	while (left >= DIGIT) {
		text += ALPHABET[DIGIT + (left % DIGIT)];
		left = Math.floor(left / DIGIT);
	}
	return text + ALPHABET[left];
}

/** All the numbers of a text; undefined when it is cut off, has other characters, or a number is too large or longer than it need be. */
function readNumbers(text: string): number[] | undefined {
	const numbers: number[] = [];
	let number = 0;
	let unit = 1;
	for (const character of text) {
		const value = VALUES.get(character);
		if (value === undefined) return undefined;
		number += (value % DIGIT) * unit;
		if (!Number.isSafeInteger(number)) return undefined;
		if (value >= DIGIT) {
			unit *= DIGIT;
			continue;
		}
		if (value === 0 && unit > 1) return undefined;
		numbers.push(number);
		number = 0;
		unit = 1;
	}
	return unit === 1 ? numbers : undefined;
}
