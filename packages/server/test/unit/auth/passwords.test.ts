/** Passwords: which hashes verify, what they cost, and that only so many are checked at once. */

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { hash } from '@node-rs/argon2';
import { Passwords } from '../../../src/auth/passwords.ts';
import { refused } from './world.ts';

/** What a wrong password costs: the work of all threads in ms, which on a busy machine is steadier than the time. */
async function workOf(passwords: Passwords, phc: string | null): Promise<number> {
	const before = process.cpuUsage();
	assert.equal(await passwords.verify(phc, 'wrong horse'), false);
	const { user, system } = process.cpuUsage(before);
	return (user + system) / 1000;
}

test('a password verifies against its own hash only, and two hashes of it differ', async () => {
	const passwords = new Passwords();
	const [first, second] = await Promise.all([passwords.hash('pässwörd'), passwords.hash('pässwörd')]);
	assert.match(first, /^\$argon2id\$v=19\$m=19456,t=2,p=1\$/);
	assert.notEqual(first, second);
	assert.equal(await passwords.verify(first, 'pässwörd'), true);
	assert.equal(await passwords.verify(first, 'passwort'), false);
	assert.equal(await passwords.verify(first, ''), false);
});

test("a hash of the earlier server's costs verifies, and is one to make anew", async () => {
	const passwords = new Passwords();
	const imported = await hash('correct horse', { memoryCost: 65_536, timeCost: 3, parallelism: 4 });
	assert.match(imported, /^\$argon2id\$v=19\$m=65536,t=3,p=4\$/);
	assert.equal(await passwords.verify(imported, 'correct horse'), true);
	assert.equal(await passwords.verify(imported, 'wrong horse'), false);
	assert.equal(passwords.isOutdated(imported), true);
	assert.equal(passwords.isOutdated(await passwords.hash('x')), false);
});

describe('what is no usable hash is a wrong password, not a failure', () => {
	const salt = 'c2FsdHNhbHRzYWx0c2FsdA';
	const digest = 'q2JtVn1uQ4V0h5b0F0m0u1S9Jq0M8rV0m3q0bq2Jt1U';
	for (const [title, phc] of [
		['no hash', null],
		['nothing', ''],
		['plain text', 'correct horse'],
		['bcrypt', '$2b$12$abcdefghijklmnopqrstuv'],
		['argon2i', `$argon2i$v=19$m=19456,t=2,p=1$${salt}$${digest}`],
		['a digest cut off', `$argon2id$v=19$m=19456,t=2,p=1$${salt}$abc`],
		['costs that would take the machine away', `$argon2id$v=19$m=4194304,t=100,p=64$${salt}$${digest}`],
	] as const) {
		test(title, async () => assert.equal(await new Passwords().verify(phc, 'correct horse'), false));
	}
});

test('who does not exist takes as long as a wrong password', async () => {
	const passwords = new Passwords();
	const known = await passwords.hash('correct horse');
	await passwords.verify(null, 'warm');
	const work = async (phc: string | null) => {
		const tries: number[] = [];
		for (let i = 0; i < 9; i++) tries.push(await workOf(passwords, phc));
		return tries.sort((a, b) => a - b)[4] ?? 0;
	};
	const [nobody, somebody] = [await work(null), await work(known)];
	// Without the work it would be a hundredth.
	assert(nobody > somebody / 3 && nobody < somebody * 3, `${nobody} ms against ${somebody} ms`);
});

test('a wrong password takes as long for nobody, for an account of here and for one whose imported hash costs more', async () => {
	const passwords = new Passwords();
	const own = await passwords.hash('correct horse');
	const imported = await hash('correct horse', { memoryCost: 65_536, timeCost: 3, parallelism: 4 });
	// As a relay does at its start, before anybody has tried a password.
	for (const phc of [own, imported]) passwords.learn(phc);
	const tries = new Map<string | null, number[]>([null, own, imported].map((phc) => [phc, []]));
	await passwords.verify(null, 'warm');
	for (let i = 0; i < 5; i++) {
		for (const [phc, times] of tries) times.push(await workOf(passwords, phc));
	}
	const [nobody = 0, here = 0, elsewhere = 0] = [...tries.values()].map((times) => times.sort((a, b) => a - b)[2]);
	// One alone costs a fifth of the other: without the making up they would be that far apart.
	assert(Math.max(nobody, here, elsewhere) < 1.6 * Math.min(nobody, here, elsewhere), `${nobody}, ${here}, ${elsewhere} ms`);
});

test('only so many costs are made up for, and none that would take the machine away', async () => {
	const passwords = new Passwords();
	const salt = 'c2FsdHNhbHRzYWx0c2FsdA';
	const digest = 'q2JtVn1uQ4V0h5b0F0m0u1S9Jq0M8rV0m3q0bq2Jt1U';
	passwords.learn(`$argon2id$v=19$m=262144,t=16,p=1$${salt}$${digest}`);
	for (let m = 100; m < 1000; m++) passwords.learn(`$argon2id$v=19$m=${m},t=1,p=1$${salt}$${digest}`);
	const before = process.cpuUsage();
	await passwords.verify(null, 'wrong horse');
	assert(process.cpuUsage(before).user < 1_500_000, 'it takes seconds with the dear one, or with all of the others');
});

test('so many are checked at once, so many wait in their order, and more are refused', async () => {
	const passwords = new Passwords({ concurrency: 1, waitingMax: 2 });
	const order: number[] = [];
	const checks = [1, 2, 3].map((n) => passwords.hash('x').then(() => order.push(n)));
	await refused(() => passwords.hash('x'), 'too_many_logins');
	await Promise.all(checks);
	assert.deepEqual(order, [1, 2, 3]);
	assert.equal(typeof (await passwords.hash('x')), 'string', 'room again');
});

test('the event loop goes on while passwords are hashed', async () => {
	const passwords = new Passwords();
	let turns = 0;
	let done = false;
	const turn = () => {
		turns++;
		if (!done) setImmediate(turn);
	};
	setImmediate(turn);
	await Promise.all(Array.from({ length: 10 }, () => passwords.hash('x')));
	done = true;
	assert(turns > 100, `${turns} turns`);
});
