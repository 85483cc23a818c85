/** The servers that tests start are what they seem: real, reachable as asked, gone when stopped. */

import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { test } from 'node:test';
import { opensslUnavailable } from './certificates.ts';
import { isNewEnough, parseVersion } from './find-valkey.ts';
import { startReplica, startValkey, untilAnswer, valkeyUnavailable } from './valkey.ts';
import { startCluster } from './valkey-cluster.ts';

const skip = valkeyUnavailable() ?? false;

test('the version of a server is read from what it prints, and an old Redis is not taken', () => {
	assert.equal(parseVersion('Valkey server v=8.0.1 sha=00000000:0 malloc=jemalloc-5.3.0 bits=64 build=39f7\n'), '8.0.1');
	assert.equal(parseVersion('Redis server v=7.0.15 sha=00000000:0 malloc=jemalloc-5.3.0 bits=64 build=ae4d\n'), '7.0.15');
	assert.equal(parseVersion('something else\n'), undefined);
	assert.equal(isNewEnough('redis', '6.2.14'), false);
	assert.equal(isNewEnough('redis', '7.0.15'), true);
	assert.equal(isNewEnough('redis', '10.0.0'), true);
	assert.equal(isNewEnough('valkey', '7.2.5'), true);
});

test('a server starts with the settings asked for, survives kill -9 with its file and forgets without it', { skip }, async () => {
	const valkey = await startValkey({ settings: { appendonly: 'yes', appendfsync: 'always', maxmemory: '50mb' } });
	assert.equal(await valkey.cli('CONFIG', 'GET', 'appendfsync'), 'appendfsync\nalways');
	assert.equal(await valkey.cli('CONFIG', 'GET', 'maxmemory'), 'maxmemory\n52428800');
	await valkey.cli('SET', 'key', 'value with spaces');
	const { pid } = valkey;
	await valkey.kill('SIGKILL');
	assert.throws(() => process.kill(pid, 0), { code: 'ESRCH' });
	await valkey.restart();
	assert.notEqual(valkey.pid, pid);
	assert.equal(await valkey.cli('GET', 'key'), 'value with spaces');
	await valkey.restart({ keepData: false, settings: { appendonly: 'no' } });
	assert.equal(await valkey.cli('GET', 'key'), '');
	assert.equal(await valkey.cli('CONFIG', 'GET', 'appendonly'), 'appendonly\nno');
	await valkey.stop();
	assert.equal(existsSync(valkey.dir), false);
});

test('an error reply rejects with the words of the server', { skip }, async () => {
	await using valkey = await startValkey();
	await valkey.cli('SET', 'key', 'value');
	await assert.rejects(valkey.cli('XLEN', 'key'), /WRONGTYPE/);
	await assert.rejects(startValkey({ settings: { 'no-such-setting': 'yes' } }), /no-such-setting/);
});

test('a paused server answers when it is resumed', { skip }, async () => {
	await using valkey = await startValkey();
	valkey.pause();
	let answered = false;
	const answer = valkey.cli('PING').finally(() => {
		answered = true;
	});
	await untilAnswer(async () => (await startedAndStopped()) === 'PONG', 'another server answering meanwhile');
	assert.equal(answered, false);
	valkey.resume();
	assert.equal(await answer, 'PONG');
});

async function startedAndStopped(): Promise<string> {
	await using other = await startValkey();
	return await other.cli('PING');
}

test('passwords and users hold', { skip }, async () => {
	await using locked = await startValkey({
		password: 'secret',
		settings: { user: ['reader on >reading ~* +@read +ping', 'nobody off'] },
	});
	assert.equal(await locked.cli('PING'), 'PONG');
	await assert.rejects(locked.cli('-a', 'wrong', 'GET', 'key'), /WRONGPASS|NOAUTH/);
	assert.equal(await locked.cli('--user', 'reader', '-a', 'reading', 'GET', 'key'), '');
	await assert.rejects(locked.cli('--user', 'reader', '-a', 'reading', 'SET', 'key', '1'), /NOPERM/);
});

test('a server with TLS is reached with its authority, and not without TLS', {
	skip: skip || (opensslUnavailable() ?? false),
}, async () => {
	await using secure = await startValkey({ tls: true });
	assert.equal(await secure.cli('PING'), 'PONG');
	assert.equal(secure.relayEnv['PULSAR_VALKEY_CA_PATH'], secure.certificates?.ca);
	assert.equal(await secure.cli('CONFIG', 'GET', 'port'), 'port\n0');
});

test('a replica follows its primary and can be promoted', { skip }, async () => {
	await using primary = await startValkey({ password: 'secret' });
	await primary.cli('SET', 'key', '1');
	await using replica = await startReplica(primary);
	await untilAnswer(async () => (await replica.cli('GET', 'key')) === '1', 'replicated');
	await assert.rejects(replica.cli('SET', 'key', '2'), /READONLY/);
	await primary.kill();
	await replica.cli('REPLICAOF', 'NO', 'ONE');
	assert.equal(await replica.cli('SET', 'key', '2'), 'OK');
});

test('a Cluster serves all slots, fails over, and moves a slot with its keys', { skip }, async () => {
	await using cluster = await startCluster({ replicasPerPrimary: 1 });
	const slot = await cluster.slotOf('{topic}:stream');
	const owner = await cluster.ownerOf(slot);
	await owner.cli('XADD', '{topic}:stream', '1-1', 'field', 'value');
	const target = cluster.primaries.find((primary) => primary !== owner);
	assert(target !== undefined);
	await cluster.moveSlot(slot, target);
	assert.equal(await cluster.ownerOf(slot), target);
	assert.equal(await target.cli('XLEN', '{topic}:stream'), '1');
	const replica = cluster.replicas[cluster.primaries.indexOf(target)];
	assert(replica !== undefined);
	await untilAnswer(async () => (await replica.cli('DBSIZE')) === '1', 'replicated');
	await cluster.failover(replica);
	assert.equal(await cluster.ownerOf(slot), replica);
	assert.equal(await replica.cli('XLEN', '{topic}:stream'), '1');
});
