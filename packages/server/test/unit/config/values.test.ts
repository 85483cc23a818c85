/** Reading single values of each type, on settings made for the test. */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { BoolSetting, IntSetting, ListSetting, Setting } from '../../../src/config/schema.ts';
import { readValue } from '../../../src/config/values.ts';

const BOOL: BoolSetting = { key: 'a', env: 'PULSAR_A', type: 'bool', default: false, doc: '' };
const LIST: ListSetting = { key: 'a', env: 'PULSAR_A', type: 'list', default: [], doc: '' };
const INT: IntSetting = { key: 'a', env: 'PULSAR_A', type: 'int', min: -3, max: 3, default: 0, doc: '' };

test('booleans are 1/0, true/false, yes/no, on/off, t/f or y/n in any case, or native', () => {
	for (const raw of ['1', 'true', 'YES', 'on', 't', 'y', ' True ', true, 1]) {
		assert.deepEqual(readValue(BOOL, raw), { status: 'ok', value: true }, String(raw));
	}
	for (const raw of ['0', 'false', 'no', 'OFF', 'f', 'n', false, 0]) {
		assert.deepEqual(readValue(BOOL, raw), { status: 'ok', value: false }, String(raw));
	}
	for (const raw of ['', '2', 'truthy', 2, [true], {}, null]) {
		assert.equal(readValue(BOOL, raw).status, 'wrong', String(raw));
	}
});

test('lists are JSON as text, or native, of texts only, and frozen', () => {
	for (const raw of ['["a", "b"]', ' ["a","b"] ', ['a', 'b']]) {
		const read = readValue(LIST, raw);
		assert.deepEqual(read, { status: 'ok', value: ['a', 'b'] });
		assert.ok(read.status === 'ok' && Object.isFrozen(read.value));
	}
	assert.deepEqual(readValue(LIST, '[]'), { status: 'ok', value: [] });
	for (const raw of ['a,b', 'a', '[a]', '["a"', '[1]', '{"0":"a"}', '"a"', [1], 1, {}]) {
		assert.equal(readValue(LIST, raw).status, 'wrong', JSON.stringify(raw));
	}
});

test('a wrong list is told what a list looks like', () => {
	assert.deepEqual(readValue(LIST, 'a,b'), {
		status: 'wrong',
		problem: '"a,b" is not a list of texts, as JSON outside a file: ["a", "b"]',
	});
});

test('a value in quotes, as some readers of env files leave it, is refused with the reason', () => {
	const text: Setting = { key: 'a', env: 'PULSAR_A', type: 'string', default: '', doc: '' };
	for (const [setting, raw] of [
		[text, '"/data"'],
		[text, "'/data'"],
		[text, ' "/data" '],
		[text, '""'],
		[INT, '"3"'],
		[BOOL, "'yes'"],
		[LIST, `'["a"]'`],
	] as const) {
		const problem = `${JSON.stringify(raw.trim())} is in quotes, which count as part of the value here; leave them out`;
		assert.deepEqual(readValue(setting, raw), { status: 'wrong', problem });
	}
	for (const raw of ['/da"ta', '"', '/data"', `"a' b`]) assert.equal(readValue(text, raw).status, 'ok', raw);
	const secret = readValue({ ...text, secret: true }, '"abc"');
	assert.ok(secret.status === 'wrong' && !secret.problem.includes('abc'));
});

test('whole numbers are decimal, within both limits', () => {
	for (const [raw, value] of [
		['-3', -3],
		['+3', 3],
		['003', 3],
		[' 1 ', 1],
		['-0', 0],
		[-0, 0],
		[2, 2],
	] as const) {
		assert.deepEqual(readValue(INT, raw), { status: 'ok', value }, String(raw));
	}
	for (const raw of [
		'-4',
		'4',
		'1.0',
		'0x1',
		'1e0',
		'1_0',
		'',
		'one',
		'١',
		1.5,
		Number.NaN,
		Number.POSITIVE_INFINITY,
		true,
		[1],
		1n,
	]) {
		assert.equal(readValue(INT, raw).status, 'wrong', String(raw));
	}
});

test('a wrong value is shown cut short, and a secret one not at all', () => {
	const long = readValue(INT, 'x'.repeat(1000));
	assert.ok(long.status === 'wrong' && long.problem.length < 150);
	const secret = readValue({ ...INT, secret: true }, 'hunter2');
	assert.deepEqual(secret, { status: 'wrong', problem: 'the value is not a whole number from -3 to 3' });
});

test('a word that only looks like a refused one is not taken for one', () => {
	const setting = { key: 'a', env: 'PULSAR_A', type: 'enum', values: ['x'], default: 'x', refused: {}, doc: '' } as const;
	assert.deepEqual(readValue(setting, 'constructor'), { status: 'wrong', problem: '"constructor" is not x' });
});
