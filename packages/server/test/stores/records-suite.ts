/** The shared suite of the records' contract (src/ports/records.ts): the same cases for every implementation. */

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { RecordListener, RecordOp, Records, StoredRecord } from '../../src/ports/records.ts';
import { createFakeClock, type FakeClock } from '../support/clock.ts';

export interface RecordsUnderTest {
	readonly name: string;
	open(clock: FakeClock): Promise<Records>;
	/** Opens what closed records left behind; absent when nothing is left. */
	reopen?(closed: Records, clock: FakeClock): Promise<Records>;
}

interface Trial {
	readonly clock: FakeClock;
	records: Records;
	/** `kind/id` of each change heard, and `missed`. */
	readonly heard: string[];
	/** Closes the records and opens what they left behind. */
	reopen(): Promise<void>;
}

interface RecordsCase {
	readonly title: string;
	readonly reopens?: true;
	run(trial: Trial): Promise<void>;
}

const put = (id: string, value: object, expected: RecordOp['expected'] = 'any', expiresAtMs: number | null = null): RecordOp => ({
	op: 'put',
	kind: 'thing',
	id,
	value: value as Record<string, unknown>,
	expected,
	expiresAtMs,
});
const remove = (id: string, expected: RecordOp['expected'] = 'any'): RecordOp => ({ op: 'delete', kind: 'thing', id, expected });
const check = (id: string, expected: RecordOp['expected']): RecordOp => ({ op: 'check', kind: 'thing', id, expected });

/** Writes what must fit; gives the version. */
async function written(records: Records, ...ops: readonly RecordOp[]): Promise<number> {
	const outcome = await records.write(ops);
	assert(outcome.status === 'ok', JSON.stringify(outcome));
	return outcome.version;
}

async function readValue(records: Records, id: string): Promise<unknown> {
	return (await records.get('thing', id))?.value;
}

const idsOf = (records: readonly StoredRecord[]) => records.map(({ id }) => id);
const all = { prefix: '', after: null, limit: 1000 };

const CASES: readonly RecordsCase[] = [
	{
		title: 'a record is what was put, and absent before and after',
		async run({ records }) {
			assert.equal(await records.get('thing', 'a'), undefined);
			const value = { text: 'é"\u2028', number: 1.5, list: [null, true, { deep: [] }] };
			const version = await written(records, put('a', value));
			assert.deepEqual(await records.get('thing', 'a'), { id: 'a', value, version, expiresAtMs: null });
			assert.equal(await records.get('other', 'a'), undefined, 'a kind is a space of its own');
			await written(records, remove('a'));
			assert.equal(await records.get('thing', 'a'), undefined);
		},
	},
	{
		title: 'a value that is changed after it was put is not changed in the records',
		async run({ records }) {
			const value = { list: [1] };
			await written(records, put('a', value));
			value.list.push(2);
			assert.deepEqual(await readValue(records, 'a'), { list: [1] });
		},
	},
	{
		title: 'a write fits only what it expects',
		async run({ records }) {
			assert.deepEqual(await records.write([put('a', {}, 'present')]), { status: 'conflict', at: 0 });
			assert.deepEqual(await records.write([put('a', {}, 1)]), { status: 'conflict', at: 0 });
			assert.deepEqual(await records.write([remove('a', 'present')]), { status: 'conflict', at: 0 });
			const first = await written(records, put('a', { n: 1 }, 'absent'));
			assert.deepEqual(await records.write([put('a', {}, 'absent')]), { status: 'conflict', at: 0 });
			const second = await written(records, put('a', { n: 2 }, first));
			assert.deepEqual(await records.write([put('a', {}, first)]), { status: 'conflict', at: 0 });
			assert.deepEqual(await records.write([remove('a', first)]), { status: 'conflict', at: 0 });
			assert.deepEqual(await readValue(records, 'a'), { n: 2 });
			await written(records, put('a', { n: 3 }, 'present'));
			await written(records, put('a', { n: 4 }));
			assert(second > first);
			await written(records, remove('a', 'present'));
			await written(records, remove('a'));
			await written(records, remove('a', 'absent'));
		},
	},
	{
		title: 'a write of several parts is made whole or not at all',
		async run({ records }) {
			const version = await written(records, put('a', { n: 1 }), put('b', { n: 1 }), check('c', 'absent'));
			for (const id of ['a', 'b']) assert.equal((await records.get('thing', id))?.version, version);
			const outcome = await records.write([put('a', { n: 2 }), remove('b'), put('c', {}), check('d', 'present')]);
			assert.deepEqual(outcome, { status: 'conflict', at: 3 });
			assert.deepEqual(await readValue(records, 'a'), { n: 1 });
			assert.deepEqual(await readValue(records, 'b'), { n: 1 });
			assert.equal(await readValue(records, 'c'), undefined);
			await written(records, check('a', version), put('c', {}), remove('b', version));
			assert.equal((await records.get('thing', 'a'))?.version, version, 'a check changes nothing');
			assert.equal(await readValue(records, 'b'), undefined);
		},
	},
	{
		title: 'a record that is made anew does not get an old version again',
		async run({ records }) {
			const seen = new Set<number>();
			for (let i = 0; i < 5; i++) {
				seen.add(await written(records, put('a', {}, 'absent')));
				await written(records, remove('a'));
			}
			assert.equal(seen.size, 5);
			for (const version of seen) assert.equal((await records.write([put('a', {}, version)])).status, 'conflict');
		},
	},
	{
		title: 'of writes made at the same time that expect the same, one is made',
		async run({ records }) {
			const version = await written(records, put('a', { by: 'nobody' }));
			const outcomes = await Promise.all(
				Array.from({ length: 50 }, (_, by) => records.write([put('a', { by }, version), put(`claim ${by}`, {})])),
			);
			const winners = outcomes.flatMap(({ status }, by) => (status === 'ok' ? [by] : []));
			assert.equal(winners.length, 1);
			assert.deepEqual(await readValue(records, 'a'), { by: winners[0] });
			assert.deepEqual(idsOf(await records.list('thing', { ...all, prefix: 'claim ' })), [`claim ${winners[0]}`]);
			const claims = await Promise.all(Array.from({ length: 50 }, (_, by) => records.write([put('name', { by }, 'absent')])));
			assert.equal(claims.filter(({ status }) => status === 'ok').length, 1);
		},
	},
	{
		title: 'a list is in the order of the ids in bytes, and goes on page by page',
		async run({ records }) {
			const ids = ['a', 'a/', 'a/1', 'a/2', 'a0', 'b', 'é', '\uffff', '\u{1f600}'];
			for (const id of ids.toReversed()) await written(records, put(id, { id }));
			assert.deepEqual(idsOf(await records.list('thing', all)), ids);
			assert.deepEqual(idsOf(await records.list('thing', { ...all, prefix: 'a/' })), ['a/', 'a/1', 'a/2']);
			assert.deepEqual(idsOf(await records.list('thing', { ...all, prefix: 'a/', after: 'a/1' })), ['a/2']);
			assert.deepEqual(idsOf(await records.list('thing', { ...all, prefix: 'b', after: 'a' })), ['b']);
			assert.deepEqual(await records.list('nothing', all), []);
			const paged: string[] = [];
			for (let after: string | null = null; ; ) {
				const page: readonly StoredRecord[] = await records.list('thing', { prefix: '', after, limit: 2 });
				assert(page.length <= 2);
				paged.push(...idsOf(page));
				after = page.at(-1)?.id ?? null;
				if (after === null) break;
			}
			assert.deepEqual(paged, ids);
		},
	},
	{
		title: 'a record is absent from the moment it expires',
		async run({ records, clock }) {
			const at = clock.nowMs() + 1000;
			const version = await written(records, put('a', {}, 'absent', at), put('b', {}, 'absent'));
			assert.equal((await records.get('thing', 'a'))?.expiresAtMs, at);
			clock.advance(999);
			assert.deepEqual(idsOf(await records.list('thing', all)), ['a', 'b']);
			clock.advance(1);
			assert.equal(await records.get('thing', 'a'), undefined);
			assert.deepEqual(idsOf(await records.list('thing', all)), ['b']);
			assert.equal((await records.write([put('a', {}, version)])).status, 'conflict');
			assert.equal((await records.write([check('a', 'present')])).status, 'conflict');
			await written(records, put('a', { again: true }, 'absent'));
			clock.advance(1_000_000);
			assert.deepEqual(await readValue(records, 'a'), { again: true }, 'a put without a time takes the old one away');
			await written(records, put('past', {}, 'absent', clock.nowMs()));
			assert.equal(await readValue(records, 'past'), undefined);
		},
	},
	{
		title: 'purging removes what has expired and nothing else',
		async run({ records, clock }) {
			for (let i = 0; i < 20; i++) await written(records, put(`short ${i}`, {}, 'absent', clock.nowMs() + 10));
			await written(records, put('long', {}, 'absent', clock.nowMs() + 1000), put('always', {}));
			assert.deepEqual(await records.purge(), { removed: 0, more: false });
			clock.advance(10);
			let removed = 0;
			for (let more = true; more; ) {
				const step = await records.purge();
				removed += step.removed;
				more = step.more;
			}
			assert.equal(removed, 20);
			assert.deepEqual(idsOf(await records.list('thing', all)), ['always', 'long']);
		},
	},
	{
		title: 'a change is heard before its write settles; a conflict, a check and an expiry are not heard',
		async run({ records, clock, heard }) {
			let heardFirst = 0;
			await written(records, put('a', {}), put('b', {}, 'absent', clock.nowMs() + 5)).then(() => {
				heardFirst = heard.length;
			});
			assert.equal(heardFirst, 2);
			await records.write([put('a', {}, 'absent')]);
			await written(records, check('a', 'present'));
			clock.advance(10);
			await records.purge();
			await written(records, remove('a'));
			assert.deepEqual(heard, ['thing/a', 'thing/b', 'thing/a']);
		},
	},
	{
		title: 'a listener that was removed hears nothing',
		async run({ records }) {
			const heard: string[] = [];
			const listener: RecordListener = { changed: (_kind, id) => heard.push(id), missed: () => {} };
			const stop = records.listen(listener);
			await written(records, put('a', {}));
			stop();
			await written(records, put('b', {}));
			assert.deepEqual(heard, ['a']);
		},
	},
	{
		title: 'records survive closing and opening, and their versions go on',
		reopens: true,
		async run(trial) {
			const version = await written(trial.records, put('a', { n: 1 }), put('gone', {}));
			await written(trial.records, remove('gone'));
			await trial.reopen();
			assert.deepEqual(await trial.records.get('thing', 'a'), { id: 'a', value: { n: 1 }, version, expiresAtMs: null });
			assert.equal(await readValue(trial.records, 'gone'), undefined);
			assert((await written(trial.records, put('b', {}))) > version + 1);
		},
	},
	{
		title: 'closing finishes what is under way; after it calls are refused',
		async run({ records }) {
			const write = records.write([put('a', {})]);
			const closed = records.close();
			assert.equal((await write).status, 'ok');
			await closed;
			await records.close();
			await assert.rejects(records.get('thing', 'a'), { code: 'storage_unavailable' });
			await assert.rejects(records.write([put('a', {})]), { code: 'storage_unavailable' });
			await assert.rejects(records.list('thing', all), { code: 'storage_unavailable' });
			await assert.rejects(records.purge(), { code: 'storage_unavailable' });
		},
	},
];

/** Registers every case of the suite. */
export function recordsSuite(under: RecordsUnderTest): void {
	describe(`the contract of records, ${under.name}`, () => {
		let ran = 0;
		const excused = under.reopen === undefined ? CASES.filter(({ reopens }) => reopens).length : 0;
		for (const { title, reopens, run } of CASES) {
			test(title, async (t) => {
				if (reopens && under.reopen === undefined) return t.skip(`${under.name} keep nothing when they close`);
				ran++;
				const clock = createFakeClock();
				const heard: string[] = [];
				const trial: Trial = {
					clock,
					heard,
					records: await under.open(clock),
					async reopen() {
						const closed = trial.records;
						await closed.close();
						assert(under.reopen !== undefined);
						trial.records = await under.reopen(closed, clock);
					},
				};
				trial.records.listen({ changed: (kind, id) => heard.push(`${kind}/${id}`), missed: () => heard.push('missed') });
				try {
					await run(trial);
				} finally {
					await trial.records.close();
				}
			});
		}
		test('every case ran, but for those with a reason not to', () => assert.equal(ran, CASES.length - excused));
	});
}
