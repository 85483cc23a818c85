/** Lines that standard output does not take: they are lost and counted, never waited for, and the log says so afterwards. */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { LogOutput } from '../../../src/ops/log-output.ts';
import { createFakeClock } from '../../support/clock.ts';

/** Takes so many bytes more; fails when it is full, or lets wait when somebody reads it slowly. */
function createDestination(whenFull: 'fails' | 'blocks') {
	let text = '';
	return {
		room: Number.POSITIVE_INFINITY,
		busy: false,
		get text() {
			return text;
		},
		write(bytes: Uint8Array): number {
			const taken = Math.min(this.room, bytes.byteLength);
			if (taken === 0 && whenFull === 'fails') throw Object.assign(new Error('no space'), { code: 'ENOSPC' });
			text += Buffer.from(bytes.subarray(0, taken)).toString();
			this.room -= taken;
			return taken;
		},
	};
}

function createOutput(whenFull: 'fails' | 'blocks') {
	const clock = createFakeClock();
	const destination = createDestination(whenFull);
	const output = new LogOutput(destination, clock);
	output.onRecovery = (lines) => output.write(`lost ${lines}\n`);
	return { clock, destination, output };
}

test('on a full disk lines are lost and counted, and the first that is stored again is followed by how many', () => {
	const { destination, output } = createOutput('fails');
	output.write('one\n');
	destination.room = 0;
	for (let i = 0; i < 3; i++) output.write('gone\n');
	assert.equal(output.lostLines, 3);
	destination.room = Number.POSITIVE_INFINITY;
	output.write('two\n');
	output.write('three\n');
	assert.equal(destination.text, 'one\ntwo\nlost 3\nthree\n');
	assert.equal(output.lostLines, 3);
});

test('that lines were lost is said within a second or so, also when nothing else is logged', () => {
	const { clock, destination, output } = createOutput('fails');
	destination.room = 0;
	output.write('gone\n');
	clock.advance(5000);
	assert.equal(output.lostLines, 1, 'lines about it do not count');
	destination.room = Number.POSITIVE_INFINITY;
	clock.advance(1000);
	assert.equal(destination.text, 'lost 1\n');
	clock.advance(5000);
	assert.equal(destination.text, 'lost 1\n');
});

test('a line of which a part was stored is ended before the next begins', () => {
	const { destination, output } = createOutput('fails');
	destination.room = 6;
	output.write('beginning and end\n');
	output.write('gone\n');
	output.write('kept\n');
	destination.room = Number.POSITIVE_INFINITY;
	output.write('next\n');
	assert.equal(destination.text, 'beginning and end\nkept\nnext\nlost 1\n');
});

test('for a slow reader a bounded number of lines waits, in order, and those beyond are lost', () => {
	const { clock, destination, output } = createOutput('blocks');
	destination.room = 10;
	const line = `${'x'.repeat(999)}\n`;
	for (let i = 0; i < 1000; i++) output.write(line);
	const waiting = 1000 - output.lostLines;
	assert(waiting * 1000 <= 300_000 && waiting * 1000 >= 200_000, String(waiting));
	destination.room = Number.POSITIVE_INFINITY;
	clock.advance(50);
	assert.equal(destination.text, `${line.repeat(waiting)}lost ${1000 - waiting}\n`);
	output.write('next\n');
	assert(destination.text.endsWith('\nnext\n'));
});

test('what waits is flushed at the end, and not waited for for ever', async () => {
	const { clock, destination, output } = createOutput('blocks');
	destination.room = 0;
	output.write('last\n');
	const flushed = output.flush(500);
	destination.room = Number.POSITIVE_INFINITY;
	await flushed;
	assert.equal(destination.text, 'last\n');
	destination.room = 0;
	output.write('never\n');
	const given = output.flush(500);
	clock.advance(500);
	await given;
	assert.equal(destination.text, 'last\n');
});
