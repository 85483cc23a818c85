/** Work per turn of the event loop: how much is done at once, and in whose turn the rest is. */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setImmediate as turn } from 'node:timers/promises';
import { STEP_BYTES, type Steps, Turns } from '../../../src/limits/turns.ts';
import { createFakeClock } from '../../support/clock.ts';

const party = (name: string) => ({ kind: 'account', name, credential: null }) as const;

/** Work whose steps take a turn each, by the clock; notes them. */
function create() {
	const clock = createFakeClock();
	const turns = new Turns(clock);
	const done: string[] = [];
	function* work(name: string, steps: number): Steps<string> {
		for (let i = 1; i <= steps; i++) {
			clock.advance(5);
			done.push(`${name}${i}`);
			if (i < steps) yield;
		}
		return name;
	}
	return { turns, done, work };
}

test('what is short is done at once, as long as a turn has not had enough', async () => {
	const { turns } = create();
	assert(!turns.admits(STEP_BYTES + 1));
	for (let round = 0; round < 2; round++) {
		let bytes = 0;
		while (turns.admits(STEP_BYTES)) bytes += STEP_BYTES;
		assert.equal(bytes, 256 * 1024);
		assert(!turns.admits(1));
		await turn();
	}
});

test('long work is done in steps, one party after another, one of each client at a time', async () => {
	const { turns, done, work } = create();
	const results = Promise.all([
		turns.run(party('a'), work('a', 4)),
		turns.run(party('a'), work('A', 1)),
		turns.run(party('b'), work('b', 2)),
		turns.later(party('c'), () => void done.push('c')),
	]);
	assert.deepEqual(done, [], 'nothing in this turn');
	await turn();
	assert.deepEqual(done, ['a1'], 'a step has taken all the time that a turn has');
	assert.deepEqual(await results, ['a', 'A', 'b', undefined]);
	assert.deepEqual(done, ['a1', 'b1', 'c', 'a2', 'b2', 'a3', 'a4', 'A1']);
});

test('work may ask for more turns of its party', async () => {
	const { turns, done, work } = create();
	let again: Promise<void> | null = null;
	const first = turns.later(party('a'), () => {
		again = turns.later(party('a'), () => void done.push('again'));
	});
	const second = turns.run(party('a'), work('a', 2));
	await Promise.all([first, second]);
	await again;
	assert.deepEqual(done, ['a1', 'a2', 'again']);
});

test('work that fails rejects, and the rest goes on', async () => {
	const { turns, work } = create();
	const failing = turns.run(
		party('a'),
		(function* (): Steps<void> {
			yield;
			throw new Error('planted');
		})(),
	);
	const later = turns.later(party('a'), () => {
		throw new Error('planted, too');
	});
	const other = turns.run(party('a'), work('a', 3));
	await assert.rejects(failing, /planted/);
	await assert.rejects(later, /planted, too/);
	assert.equal(await other, 'a');
});
