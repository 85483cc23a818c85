/** The chain of changes: in whatever order they are heard of each is told once, and what was lost is found, and nothing else. */

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { ChangeChain } from '../../../src/stores/valkey/change-chain.ts';

/** Changes with rising versions, each as `[previous, version]`. */
const changes = fc.array(fc.integer({ min: 1, max: 1000 }), { minLength: 1, maxLength: 30 }).map((steps) => {
	let last = 0;
	return steps.map((step): [number, number] => {
		const previous = last;
		last += step;
		return [previous, last];
	});
});

test('heard of twice and in any order, each is told once, and the chain leads to the last', () => {
	fc.assert(
		fc.property(
			changes.chain((links) => fc.shuffledSubarray([...links, ...links], { minLength: 2 * links.length })),
			(links) => {
				const chain = new ChangeChain(0);
				const told = links.filter(([previous, version]) => chain.hear(previous, version));
				assert.equal(told.length, links.length / 2);
				const last = Math.max(...links.map(([, version]) => version));
				assert.equal(chain.tip, last);
				for (let i = 0; i < 3; i++) assert(chain.look(last, chain.tip), 'nothing was missed');
			},
		),
	);
});

test('when some never come, two looks find it, and the chain goes on from there', () => {
	fc.assert(
		fc.property(changes, fc.nat(), (links, place) => {
			const lost = place % links.length;
			const chain = new ChangeChain(0);
			for (const [i, [previous, version]] of links.entries()) if (i !== lost) chain.hear(previous, version);
			const last = links.at(-1)?.[1] ?? 0;
			const found = [chain.look(last, chain.tip), chain.look(last, chain.tip)];
			assert.deepEqual(found, [true, false], 'it gets until the second look to come');
			assert(chain.look(last, chain.tip), 'and is missed once');
			assert(chain.hear(last, last + 1));
			assert.equal(chain.tip, last + 1);
		}),
	);
});

describe('a look', () => {
	test('misses nothing that comes before the next one', () => {
		const chain = new ChangeChain(10);
		assert(chain.look(20, chain.tip));
		assert(chain.hear(10, 20));
		assert(chain.look(30, chain.tip));
		assert(chain.hear(20, 30));
		assert(chain.look(30, chain.tip));
	});

	test('whose answer is older than what was heard meanwhile finds nothing missing', () => {
		const chain = new ChangeChain(10);
		const tipBefore = chain.tip;
		chain.hear(10, 20);
		assert(chain.look(10, tipBefore));
		assert(chain.look(20, chain.tip));
	});

	test('that finds the counter behind what was announced finds a loss at once', () => {
		const chain = new ChangeChain(10);
		chain.hear(10, 20);
		assert(!chain.look(10, chain.tip));
		assert(chain.hear(10, 30), 'the chain goes on from what the server has');
		assert.equal(chain.tip, 30);
	});
});

test('what is heard ahead of a hole joins the chain once it is known where that leads', () => {
	const chain = new ChangeChain(10);
	assert(chain.hear(20, 30));
	assert(chain.hear(30, 40));
	chain.restart(20);
	assert.equal(chain.tip, 40);
	assert(!chain.hear(10, 20), 'covered by what was read since');
	assert(!chain.hear(30, 40), 'told already');
});
