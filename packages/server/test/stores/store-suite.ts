/**
 * The shared suite of the store contract (src/ports/store.ts): the same cases for every store. A store that keeps nothing
 * skips the cases that reopen it, and the model those that compare with the model, with the reason and counted.
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
		for (const one of CASES) {
			test(one.title, async (t) => {
				const reason = skipReason(under, one);
				if (reason !== null) {
					skipped++;
					t.skip(reason);
					return;
				}
				ran++;
				const trial = await openTrial(under, one.topicsMax === undefined ? {} : { topicsMax: one.topicsMax });
				try {
					await one.run(trial);
				} finally {
					await trial.close();
				}
			});
		}

		test('every case of the suite ran, but for those that the store has a reason to skip', () => {
			assert.equal(new Set(CASES.map(({ title }) => title)).size, CASES.length, 'a title names one case');
			assert.equal(ran + skipped, CASES.length, 'ran or skipped');
			const excused = CASES.filter((one) => skipReason(under, one) !== null);
			assert.equal(skipped, excused.length, 'skipped');
		});
	});
}

/** Why a store cannot run a case, or null. */
function skipReason(under: StoreUnderTest, { reopens, comparesWithModel, keysOverTopics }: StoreCase): string | null {
	if (reopens && under.reopen === undefined) return `the ${under.name} store keeps nothing when it closes`;
	if (comparesWithModel && under.isModel) return `the ${under.name} store is the model itself`;
	if (keysOverTopics && under.keysPerTopic) return `the ${under.name} store knows idempotency keys per topic`;
	return null;
}
