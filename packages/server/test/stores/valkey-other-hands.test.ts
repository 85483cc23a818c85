/**
 * Other hands at the streams, while relays hold the messages in memory: an entry removed, a stream renamed away and back, everything flushed.
 * All relays agree on what is left within a second, and whoever passes what is gone is told (I3, I4, I10).
 */

import assert from 'node:assert/strict';
import { after, before, describe, type TestContext, test } from 'node:test';
import { startValkey, type Valkey, valkeyUnavailable } from '../support/valkey.ts';
import { appendOne, entries, entry, payloadsOf } from './trial.ts';
import { serverAt } from './valkey-fixture.ts';
import { idsInLog, type Node, openNode, toldTo, until } from './valkey-node.ts';

const START = { ms: 0, n: 0 };
/** Two relays that look each second, on a machine that is busy. */
const AGREE_MS_MAX = 2500;

function suite(): void {
	let valkey: Valkey;
	before(async () => {
		valkey = await startValkey();
	});
	after(() => valkey.stop());

	const stream = (topic: string) => `topic:${topic}:stream`;
	const cli = (...args: readonly string[]) => valkey.cli(...args);
	const nodes = async (t: TestContext): Promise<[Node, Node]> => [
		await openNode(t, serverAt(valkey.host, valkey.port)),
		await openNode(t, serverAt(valkey.host, valkey.port)),
	];

	/** Subscribes to a topic at both, and waits until both have all that was appended so far in memory. */
	async function follow(pair: readonly Node[], topic: string, last: string) {
		const sinks = await Promise.all(pair.map((node) => node.subscribe(topic, START)));
		for (const sink of sinks) await until(() => toldTo(sink).at(-1) === last, 'followed');
		return sinks;
	}

	/** What somebody who reads a topic from its beginning is told by a node. */
	async function read(node: Node, topic: string, until_: string): Promise<string[]> {
		const sink = await node.subscribe(topic, START);
		await until(() => toldTo(sink).at(-1) === until_, `read to ${until_}`);
		return toldTo(sink);
	}

	/** Waits until every node tells a reader the same. */
	async function agreed(pair: readonly Node[], topic: string, wanted: readonly string[]): Promise<void> {
		const startedMs = performance.now();
		for (const node of pair) {
			await until(async () => {
				const told = await read(node, topic, wanted.at(-1) ?? '');
				return JSON.stringify(told) === JSON.stringify(wanted);
			}, `${topic}: ${wanted.join()}`);
		}
		const tookMs = performance.now() - startedMs;
		assert.ok(tookMs < AGREE_MS_MAX, `it took ${tookMs} ms`);
	}

	test('an entry removed from the middle: no relay gives it from memory, and its place is a gap; who had it is not disturbed', async (t) => {
		const [one, other] = await nodes(t);
		const sinks = await Promise.all([one, other].map((node) => node.subscribe('x', START)));
		for (let i = 0; i < 5; i++) await appendOne(one.store, 'x', entry(String(i)));
		for (const sink of sinks) await until(() => sink.told.length === 5, 'live');
		const [, , third] = await idsInLog(one.store, 'x');
		await cli('XDEL', stream('x'), third ?? '');
		await agreed([one, other], 'x', ['0', '1', 'gap ahead', '3', '4']);
		assert.deepEqual(await payloadsOf(one.store, 'x'), ['0', '1', '3', '4']);
		await appendOne(other.store, 'x', entry('5'));
		for (const sink of sinks) await until(() => toldTo(sink).at(-1) === '5', 'goes on');
		for (const sink of sinks) assert.deepEqual(toldTo(sink), ['0', '1', '2', '3', '4', '5']);
		await agreed([one, other], 'x', ['0', '1', 'gap ahead', '3', '4', '5']);
		const warnings = [...one.warnings, ...other.warnings];
		assert.ok(
			warnings.some((text) => /somebody else has removed messages.*"topic":"x","removed":1/.test(text)),
			warnings.join(),
		);
	});

	test('the newest entry removed, and one that is removed just before an append', async (t) => {
		const [one, other] = await nodes(t);
		await one.store.append('n', entries(3));
		await follow([one, other], 'n', '2');
		const [, , last] = await idsInLog(one.store, 'n');
		await cli('XDEL', stream('n'), last ?? '');
		await appendOne(other.store, 'n', entry('3'));
		await agreed([one, other], 'n', ['0', '1', 'gap ahead', '3']);
	});

	test('a stream renamed away, appended to meanwhile, and renamed back over it', async (t) => {
		const [one, other] = await nodes(t);
		for (let i = 0; i < 3; i++) await appendOne(one.store, 'r', entry(String(i)));
		await follow([one, other], 'r', '2');
		await cli('RENAME', stream('r'), 'away');
		await appendOne(one.store, 'r', entry('3'));
		await cli('RENAME', 'away', stream('r'));
		await agreed([one, other], 'r', ['gap trimmed', 'gap ahead']);
		await appendOne(other.store, 'r', entry('4'));
		await agreed([one, other], 'r', ['gap trimmed', 'gap ahead', '4']);
	});

	test('the same where both streams have as many entries', async (t) => {
		const [one, other] = await nodes(t);
		await appendOne(one.store, 'e', entry('0'));
		await follow([one, other], 'e', '0');
		await cli('RENAME', stream('e'), 'away');
		await appendOne(one.store, 'e', entry('1'));
		await cli('RENAME', 'away', stream('e'));
		await agreed([one, other], 'e', ['gap trimmed', 'gap ahead']);
	});

	test('a stream renamed away and back with nothing in between is as it was, or gone for everybody', async (t) => {
		const [one, other] = await nodes(t);
		await one.store.append('b', entries(3));
		await follow([one, other], 'b', '2');
		await cli('RENAME', stream('b'), 'away');
		// One relay looks meanwhile, and says what it sees.
		await one.store.watch('b');
		await cli('RENAME', 'away', stream('b'));
		await appendOne(other.store, 'b', entry('3'));
		await agreed([one, other], 'b', ['gap trimmed', '3']);
	});

	test('everything flushed between two looks, with messages since', async (t) => {
		const [one, other] = await nodes(t);
		await one.store.append('f', entries(3));
		const sinks = await follow([one, other], 'f', '2');
		await cli('FLUSHALL');
		await appendOne(other.store, 'f', entry('3'));
		await agreed([one, other], 'f', ['gap ahead', '3']);
		for (const sink of sinks) assert.deepEqual(toldTo(sink).slice(3), ['gap ahead', '3']);
	});
}

const unavailable = valkeyUnavailable();
if (unavailable === null) describe('other hands at the streams', suite);
else test('other hands at the streams', { skip: unavailable }, () => {});
