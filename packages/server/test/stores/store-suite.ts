/**
 * The shared suite of the store contract (src/ports/store.ts): the same cases for every store. A store that keeps nothing
 * skips, counted and with the reason, the cases that reopen it; no store can leave out a case by another way.
 */

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { announceCases } from './cases/announce.ts';
import { appendCases } from './cases/append.ts';
import { dedupeCases } from './cases/dedupe.ts';
import { lifetimeCases } from './cases/lifetime.ts';
import { modelCases } from './cases/model.ts';
import { readCases } from './cases/read.ts';
import { retentionCases } from './cases/retention.ts';
import { topicCases } from './cases/topics.ts';
import { openTrial, type StoreCase, type StoreUnderTest } from './trial.ts';

const CASES: readonly StoreCase[] = [
	...appendCases,
	...dedupeCases,
	...readCases,
	...announceCases,
	...topicCases,
	...retentionCases,
	...lifetimeCases,
	...modelCases,
];

/** Registers every case of the suite for one store. */
export function storeSuite(under: StoreUnderTest): void {
	describe(`the store contract, on the ${under.name} store`, () => {
		let ran = 0;
		let skipped = 0;
		for (const { title, reopens, topicsMax, run } of CASES) {
			test(title, async (t) => {
				if (reopens === true && under.reopen === undefined) {
					skipped++;
					t.skip(`the ${under.name} store keeps nothing when it closes`);
					return;
				}
				ran++;
				const trial = await openTrial(under, topicsMax === undefined ? {} : { topicsMax });
				try {
					await run(trial);
				} finally {
					await trial.close();
				}
			});
		}

		test('every case of the suite was run, or skipped because nothing outlives the store', () => {
			assert.equal(new Set(CASES.map(({ title }) => title)).size, CASES.length, 'titles name one case each');
			assert.equal(ran + skipped, CASES.length);
			assert.equal(skipped, under.reopen === undefined ? CASES.filter(({ reopens }) => reopens).length : 0);
		});
	});
}
