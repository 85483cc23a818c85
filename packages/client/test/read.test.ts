/** Reading over each transport, against a relay. */

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { startRelay, type TestRelay } from '../../server/test/support/relay.ts';
import { connect, type Gap, GapError, memoryCursors, RawJson, type TransportKind } from '../src/index.ts';

const TRANSPORTS: readonly TransportKind[] = ['ws', 'sse', 'poll'];

for (const transport of TRANSPORTS) {
	describe(`over ${transport}`, () => {
		let relay: TestRelay;
		before(async () => {
			relay = await startRelay();
		});
		after(() => relay.close());

		const open = () => connect(relay.url, { transports: [transport] });

		test('reads what is there and what comes, in order and once', async () => {
			await using client = open();
			const ids = await relay.publishMany(
				'order',
				Array.from({ length: 700 }, (_, n) => `${n}`),
			);
			const seen: string[] = [];
			let next = 700;
			for await (const message of client.read('order', { from: 'earliest', batch: 50 })) {
				assert.equal(message.json(), seen.length);
				seen.push(message.id);
				if (seen.length === 700) await relay.publishMany('order', [`${next++}`, `${next++}`]);
				if (seen.length === 702) break;
			}
			assert.deepEqual(seen.slice(0, 700), ids);
			assert.equal(client.status.value.state, 'idle');
		});

		test('resumes after an id', async () => {
			await using client = open();
			const ids = await relay.publishMany('resume', ['1', '2', '3']);
			for await (const message of client.read('resume', { from: ids[0] ?? '' })) {
				assert.equal(message.json(), 2);
				break;
			}
		});

		test('reads several topics over one client, each from where it is told', async () => {
			await using client = open();
			const [first = ''] = await relay.publishMany('one', ['1', '2']);
			await relay.publishMany('two', ['3', '4']);
			const seen: unknown[] = [];
			for await (const message of client.read(['one', 'two', 'three'], { from: { one: first, two: 'earliest' } })) {
				seen.push(message.json());
				if (seen.length === 3) await relay.publish('three', '5');
				if (seen.length === 4) break;
			}
			assert.deepEqual(seen.slice(0, 3).toSorted(), [2, 3, 4]);
			assert.equal(seen[3], 5);
		});

		test('two reads of one topic stand where each of them is', async () => {
			await using client = open();
			await relay.publishMany('shared', ['1', '2', '3']);
			const all = async (count: number) => {
				const seen: unknown[] = [];
				for await (const message of client.read('shared', { from: 'earliest' })) {
					seen.push(message.json());
					if (seen.length === count) return seen;
				}
				return seen;
			};
			assert.deepEqual(await Promise.all([all(3), all(2)]), [
				[1, 2, 3],
				[1, 2],
			]);
		});

		test('payloads stay the text that was published', async () => {
			await using client = open();
			const text = '{"n": 9007199254740993, "one":1.0,"metadata":{"a":"}"}, "e":"\\"\\\\"}';
			await client.publish('raw', new RawJson(text), { metadata: { metadata: ',"payload":1' } });
			for await (const message of client.read('raw', { from: 'earliest' })) {
				assert.equal(new TextDecoder().decode(message.raw), text);
				assert.deepEqual(message.metadata, { metadata: ',"payload":1' });
				break;
			}
		});

		test('a gap that nobody handles throws, and says where to go on', async () => {
			await using client = open();
			await relay.publishMany('gap', ['1', '2']);
			const read = client.read('gap', { from: '99999999999999-0' });
			const error = await read.next().then(
				() => assert.fail('no gap'),
				(thrown: unknown) => thrown,
			);
			assert(error instanceof GapError, String(error));
			assert.equal(error.gap.reason, 'ahead');
			assert.equal(error.cursors['gap'], error.gap.to);
			assert.equal((await read.next()).done, true);
		});

		test('a gap that is handled comes before what follows it', async () => {
			await using client = open();
			await relay.publishMany('handled', ['1']);
			const gaps: Gap[] = [];
			const onGap = (gap: Gap) => {
				gaps.push(gap);
				void relay.publish('handled', '2');
			};
			for await (const message of client.read('handled', { from: '99999999999999-0', onGap })) {
				assert.equal(message.json(), 2);
				break;
			}
			assert.equal(gaps.length, 1);
		});

		test('a topic with a name that is none ends the read with the error of the relay', async () => {
			await using client = open();
			await assert.rejects(client.read('bad name').next(), {
				name: 'RelayError',
				code: transport === 'ws' ? 'invalid_topic' : 'invalid_topic',
			});
		});

		test('a saved cursor wins over from, and counts what was asked beyond', async () => {
			const cursors = memoryCursors();
			await relay.publishMany('saved', ['1', '2', '3', '4']);
			const take = async (count: number) => {
				await using client = connect(relay.url, { transports: [transport], cursors });
				const seen: unknown[] = [];
				for await (const message of client.read('saved', { from: 'earliest', name: 'worker' })) {
					seen.push(message.json());
					if (seen.length === count) break;
				}
				return seen;
			};
			assert.deepEqual(await take(3), [1, 2, 3]);
			assert.deepEqual(await take(2), [3, 4]);
		});

		test('a signal ends a read that waits', async () => {
			await using client = open();
			const stop = new AbortController();
			const next = client.read('quiet', { signal: stop.signal }).next();
			while (client.status.value.state !== 'live') await new Promise<void>((resolve) => setImmediate(resolve));
			stop.abort();
			assert.equal((await next).done, true);
			assert.equal(client.status.value.state, 'idle');
		});
	});
}
