/** Idempotency: duplicates, conflicts, and for how long they are known (I9). */

import assert from 'node:assert/strict';
import type { AppendEntry } from '../../../src/ports/store.ts';
import {
	appendedTo,
	appendOne,
	entry,
	idOf,
	keyed,
	messagesOf,
	payloadsOf,
	type StoreCase,
	type Trial,
	trimAll,
} from '../trial.ts';

/** Appends and gives the statuses. */
async function statuses({ store }: Trial, topic: string, ...entries: AppendEntry[]): Promise<string[]> {
	return (await store.append(topic, entries)).map(({ status }) => status);
}

const NO_BOUND = Number.MAX_SAFE_INTEGER;

export const dedupeCases: readonly StoreCase[] = [
	{
		title: 'dedupe: the same request again gives the first id, stores nothing and announces nothing',
		async run({ store, clock, heard }) {
			const first = await appendOne(store, 'a', keyed('1', 'k', 0, 'f'));
			clock.advance(5);
			assert.deepEqual(await store.append('a', [keyed('1', 'k', 0, 'f')]), [{ status: 'duplicate', id: first }]);
			assert.deepEqual(await payloadsOf(store, 'a'), ['1']);
			assert.equal(heard.length, 1);
		},
	},
	{
		title: 'dedupe: the same key with another fingerprint is a conflict and stores nothing',
		async run(trial) {
			await statuses(trial, 'a', keyed('1', 'k', 0, 'f'));
			assert.deepEqual(await trial.store.append('a', [keyed('2', 'k', 0, 'g')]), [{ status: 'conflict' }]);
			assert.deepEqual(await statuses(trial, 'a', keyed('1', 'k', 0, 'f')), ['duplicate'], 'the record is still the first');
			assert.deepEqual(await payloadsOf(trial.store, 'a'), ['1']);
		},
	},
	{
		title: 'dedupe: an unknown item of a known request is appended, unless the fingerprint is another than that of item 0',
		async run(trial) {
			await statuses(trial, 'a', keyed('0', 'k', 0, 'f'));
			assert.deepEqual(await statuses(trial, 'a', keyed('1', 'k', 1, 'g')), ['conflict']);
			assert.deepEqual(await statuses(trial, 'a', keyed('1', 'k', 1, 'f')), ['appended']);
			assert.deepEqual(await payloadsOf(trial.store, 'a'), ['0', '1']);
		},
	},
	{
		title: 'dedupe: only the records of the item itself and of item 0 decide',
		async run(trial) {
			await statuses(trial, 'a', keyed('1', 'k', 1, 'f'));
			assert.deepEqual(await statuses(trial, 'a', keyed('x', 'k', 1, 'g')), ['conflict'], 'the item itself');
			assert.deepEqual(await statuses(trial, 'a', keyed('2', 'k', 2, 'g')), ['appended'], 'item 0 is not known');
			assert.deepEqual(await statuses(trial, 'a', keyed('0', 'k', 0, 'g')), ['appended'], 'item 0 is its own');
			assert.deepEqual(await statuses(trial, 'a', keyed('1', 'k', 1, 'f')), ['conflict'], 'item 0 is another request now');
			assert.deepEqual(await statuses(trial, 'a', keyed('2', 'k', 2, 'g')), ['duplicate']);
		},
	},
	{
		title: 'dedupe: the rules hold between the entries of one call, and only appended entries take ids',
		async run(trial) {
			const { store, clock, heard } = trial;
			const outcomes = await store.append('a', [
				keyed('0', 'k', 0, 'f'),
				keyed('again', 'k', 0, 'f'),
				entry('plain'),
				keyed('other', 'k', 0, 'g'),
				keyed('other', 'k', 1, 'g'),
				keyed('1', 'k', 1, 'f'),
				keyed('1', 'k', 1, 'f'),
				keyed('x', 'l', 0, 'g'),
			]);
			const ms = clock.nowMs();
			assert.deepEqual(outcomes, [
				{ status: 'appended', id: { ms, n: 0 } },
				{ status: 'duplicate', id: { ms, n: 0 } },
				{ status: 'appended', id: { ms, n: 1 } },
				{ status: 'conflict' },
				{ status: 'conflict' },
				{ status: 'appended', id: { ms, n: 2 } },
				{ status: 'duplicate', id: { ms, n: 2 } },
				{ status: 'appended', id: { ms, n: 3 } },
			]);
			assert.deepEqual(await payloadsOf(store, 'a'), ['0', 'plain', '1', 'x']);
			assert.equal(messagesOf(appendedTo(heard, 'a').map(({ block }) => block)).length, 4);
		},
	},
	{
		title: 'dedupe: entries without a key are never duplicates',
		async run({ store }) {
			await store.append('a', [entry('1'), entry('1')]);
			await store.append('a', [entry('1')]);
			assert.deepEqual(await payloadsOf(store, 'a'), ['1', '1', '1']);
		},
	},
	{
		title: 'dedupe: keys that look alike are different keys',
		async run(trial) {
			const keys: [string, number][] = [
				['k', 1],
				['k1', 0],
				['1:k', 0],
				['k:1', 0],
				['K', 1],
				['k ', 1],
				['', 1],
				['k', 11],
				['k1', 1],
				['é', 0],
				['e\u0301', 0],
				["'; --", 0],
				['__proto__', 0],
			];
			const call = keys.map(([key, item]) => keyed('1', key, item, 'f'));
			assert.deepEqual(
				await statuses(trial, 'a', ...call),
				keys.map(() => 'appended'),
			);
			assert.deepEqual(
				await statuses(trial, 'a', ...call),
				keys.map(() => 'duplicate'),
			);
		},
	},
	{
		title: 'dedupe: keys are known over all topics, and a duplicate does not create its topic',
		keysOverTopics: true,
		async run(trial) {
			const first = await appendOne(trial.store, 'a', keyed('1', 'k', 0, 'f'));
			assert.deepEqual(await trial.store.append('b', [keyed('1', 'k', 0, 'f')]), [{ status: 'duplicate', id: first }]);
			assert.deepEqual(await statuses(trial, 'b', keyed('1', 'k', 0, 'g')), ['conflict']);
			assert.equal(await trial.store.getTopic('b'), undefined);
		},
	},
	{
		title: 'dedupe: a replay needs no room for a topic',
		keysOverTopics: true,
		topicsMax: 1,
		async run(trial) {
			await statuses(trial, 'a', keyed('1', 'k', 0, 'f'));
			assert.deepEqual(await statuses(trial, 'b', keyed('1', 'k', 0, 'f')), ['duplicate']);
		},
	},
	{
		title: 'dedupe: calls at once for a topic without room are all refused, whatever keys they share, and leave no record',
		keysOverTopics: true,
		topicsMax: 1,
		async run(trial) {
			const { store, heard } = trial;
			await statuses(trial, 'a', keyed('0', 'known', 0, 'f'));
			const under = [
				store.append('b', [keyed('1', 'k', 0, 'f'), keyed('1', 'known', 0, 'f')]),
				store.append('b', [keyed('1', 'k', 0, 'f')]),
				store.append('b', [keyed('1', 'k', 0, 'g')]),
				store.append('b', [entry('1')]),
			];
			const replayed = store.append('b', [keyed('0', 'known', 0, 'f')]);
			for (const { status, reason } of (await Promise.allSettled(under)) as PromiseRejectedResult[]) {
				assert.equal(status, 'rejected');
				assert.equal(reason.code, 'topic_limit');
			}
			assert.equal((await replayed)[0]?.status, 'duplicate');
			assert.equal(heard.length, 1);
			assert.deepEqual(await statuses(trial, 'a', keyed('1', 'k', 0, 'g')), ['appended'], 'no refused call left a record');
		},
	},
	{
		title: 'dedupe: a call sent again before the first is answered waits for it and gets its id',
		async run({ store }) {
			const answered: string[] = [];
			const [first, again, other] = await Promise.all(
				(['f', 'f', 'g'] as const).map(async (fingerprint, i) => {
					const [outcome] = await store.append('a', [keyed('1', 'k', 0, fingerprint)]);
					answered.push(`${i} ${outcome?.status}`);
					return outcome;
				}),
			);
			assert.deepEqual(again, { status: 'duplicate', id: idOf(first) });
			assert.deepEqual(other, { status: 'conflict' });
			assert.deepEqual(answered, ['0 appended', '1 duplicate', '2 conflict']);
			assert.deepEqual(await payloadsOf(store, 'a'), ['1']);
		},
	},
	{
		title: 'dedupe: a key outlives its trimmed message and its deleted topic',
		async run({ store, clock }) {
			const first = await appendOne(store, 'a', keyed('1', 'k', 0, 'f'));
			const duplicate = [{ status: 'duplicate', id: first }];
			assert.equal(await trimAll(store, { nowMs: clock.nowMs(), defaultMaxMessages: 0 }), 1);
			assert.deepEqual(await store.append('a', [keyed('1', 'k', 0, 'f')]), duplicate);
			await store.deleteTopic('a');
			assert.deepEqual(await store.append('a', [keyed('1', 'k', 0, 'f')]), duplicate);
			assert.equal(await store.getTopic('a'), undefined, 'a replay does not bring the topic back');
		},
	},
	{
		title: 'dedupe: keys are known after the store was opened again',
		reopens: true,
		async run(trial) {
			const first = await appendOne(trial.store, 'a', keyed('0', 'k', 0, 'f'));
			await statuses(trial, 'b', keyed('0', 'l', 0, 'f'));
			await trial.store.deleteTopic('b');
			await trial.reopen();
			assert.deepEqual(await trial.store.append('a', [keyed('0', 'k', 0, 'f')]), [{ status: 'duplicate', id: first }]);
			assert.deepEqual(await statuses(trial, 'a', keyed('0', 'k', 0, 'g'), keyed('1', 'k', 1, 'g'), keyed('1', 'k', 1, 'f')), [
				'conflict',
				'conflict',
				'appended',
			]);
			assert.deepEqual(await statuses(trial, 'b', keyed('0', 'l', 0, 'f')), ['duplicate']);
		},
	},
	{
		title: 'dedupe: records from before a time are forgotten, those at it and after it are kept',
		async run(trial) {
			const { store, clock } = trial;
			await statuses(trial, 'a', keyed('0', 'old', 0, 'f'), keyed('1', 'old', 1, 'f'));
			clock.advance(1000);
			await statuses(trial, 'a', keyed('2', 'new', 0, 'f'));
			assert.deepEqual(await store.forgetKeys(clock.nowMs() - 1000, NO_BOUND), { removed: 0, more: false });
			assert.deepEqual(await store.forgetKeys(clock.nowMs(), NO_BOUND), { removed: 2, more: false });
			assert.deepEqual(
				await statuses(trial, 'a', keyed('0', 'old', 0, 'g'), keyed('1', 'old', 1, 'g'), keyed('2', 'new', 0, 'f')),
				['appended', 'appended', 'duplicate'],
			);
			assert.deepEqual(await payloadsOf(store, 'a'), ['0', '1', '2', '0', '1'], 'messages are not forgotten with their keys');
		},
	},
	{
		title: 'dedupe: the oldest records beyond a number are forgotten',
		keysOverTopics: true,
		async run(trial) {
			const { store, clock } = trial;
			for (let i = 0; i < 10; i++) {
				await statuses(trial, i % 2 === 0 ? 'a' : 'b', keyed('1', `k${i}`, 0, 'f'));
				clock.advance(1);
			}
			assert.deepEqual(await store.forgetKeys(0, 10), { removed: 0, more: false });
			assert.deepEqual(await store.forgetKeys(0, 3), { removed: 7, more: false });
			const again = Array.from({ length: 10 }, (_, i) => keyed('1', `k${i}`, 0, 'f')).reverse();
			assert.deepEqual(await statuses(trial, 'a', ...again), [...Array(3).fill('duplicate'), ...Array(7).fill('appended')]);
		},
	},
	{
		title: 'dedupe: beyond the number whoever has most gives way first, and nobody for somebody who has more',
		keysOverTopics: true,
		async run(trial) {
			const { store, clock } = trial;
			const append = async (holder: string, count: number) => {
				for (let i = 0; i < count; i++) {
					await statuses(trial, holder, keyed('1', `${holder}/key/k${i}`, 0, 'f'));
					clock.advance(1);
				}
			};
			await append('victim', 5);
			await append('flood', 40);
			await append('other', 15);
			assert.deepEqual(await store.forgetKeys(0, 30), { removed: 30, more: false });
			const known = async (holder: string, count: number) => {
				const again = Array.from({ length: count }, (_, i) => keyed('1', `${holder}/key/k${i}`, 0, 'f'));
				const found = await statuses(trial, holder, ...again);
				return found.filter((status) => status === 'duplicate').length;
			};
			assert.equal(await known('victim', 5), 5);
			// The newest of each are left; asking makes the others anew.
			assert.equal((await statuses(trial, 'flood', keyed('1', 'flood/key/k39', 0, 'f')))[0], 'duplicate');
			assert.equal((await statuses(trial, 'other', keyed('1', 'other/key/k14', 0, 'f')))[0], 'duplicate');
			const [flood, other] = [await known('flood', 40), await known('other', 15)];
			assert.equal(flood + other, 25);
			assert.ok(flood >= 12 && flood <= 13, `${flood} and ${other}`);
		},
	},
	{
		title: 'dedupe: each one’s records from before a time are forgotten, also after those of others',
		async run(trial) {
			const { store, clock } = trial;
			for (const holder of ['a', 'b', 'a', 'b']) {
				await statuses(trial, 'a', keyed('1', `${holder}/${clock.nowMs()}`, 0, 'f'));
				clock.advance(1000);
			}
			assert.deepEqual(await store.forgetKeys(clock.nowMs() - 2000, NO_BOUND), { removed: 2, more: false });
			assert.deepEqual(await store.forgetKeys(clock.nowMs() - 1000, NO_BOUND), { removed: 1, more: false });
			assert.deepEqual(await store.forgetKeys(clock.nowMs(), NO_BOUND), { removed: 1, more: false });
			assert.deepEqual(await store.forgetKeys(clock.nowMs(), 0), { removed: 0, more: false });
		},
	},
	{
		title: 'dedupe: forgetting many records takes several bounded steps that add up',
		async run(trial) {
			const { store, clock } = trial;
			const total = 25_000;
			for (let at = 0; at < total; at += 5000) {
				await store.append(
					'a',
					Array.from({ length: 5000 }, (_, i) => keyed('0', 'k', at + i, 'f')),
				);
			}
			clock.advance(1);
			let removed = 0;
			for (let more = true; more; ) {
				const step = await store.forgetKeys(clock.nowMs(), NO_BOUND);
				assert.ok(step.removed < total, 'one step does not forget them all');
				assert.ok(step.removed > 0 || !step.more, 'a step that promises more has done some');
				removed += step.removed;
				more = step.more;
			}
			assert.equal(removed, total);
			assert.deepEqual(await statuses(trial, 'a', keyed('0', 'k', total - 1, 'g')), ['appended']);
		},
	},
];
