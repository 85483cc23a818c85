/** A node that may have missed changes takes nothing from memory any more, and looks at every connection again. */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setImmediate as turn } from 'node:timers/promises';
import type { LiveConnection } from '../../../src/auth/live-connections.ts';
import type { RecordListener, Records } from '../../../src/ports/records.ts';
import { createWorld, logOut, PASSWORD, refused } from './world.ts';

/** Records of which a node hears no change, until it is told that it has missed some; and which can be slow to answer. */
function deaf(records: Records) {
	const listeners = new Set<RecordListener>();
	let answers: Promise<void> = Promise.resolve();
	return {
		async get(kind: string, id: string) {
			const record = await records.get(kind, id);
			await answers;
			return record;
		},
		answerAfter(event: Promise<void>) {
			answers = event;
		},
		list: (...args: Parameters<Records['list']>) => records.list(...args),
		write: (...args: Parameters<Records['write']>) => records.write(...args),
		purge: () => records.purge(),
		close: () => records.close(),
		listen(listener: RecordListener) {
			listeners.add(listener);
			return () => void listeners.delete(listener);
		},
		miss() {
			for (const listener of listeners) listener.missed();
		},
	};
}

/** An account and what it holds, on a node that hears of nothing; and a connection to it by each credential. */
async function connectedToDeafNode() {
	const { auth: near, node, records: shared, account } = createWorld();
	const records = deaf(shared);
	const far = node(records);
	const [bob, alice] = [await account('bob'), await account('alice')];
	const { accessToken } = await near.login('bob', PASSWORD);
	const topic = `${alice.accountId}/lent`;
	await near.topics.grant(topic, bob.accountId, 'read');
	const scopes = [{ actions: ['subscribe' as const], topics: [topic] }];
	const { key, secret } = await near.keys.create(bob.accountId, { name: 'k', scopes, expiresAtMs: null });
	const ended: string[] = [];
	const connect = async (name: string, credential: string) => {
		const topics = new Set([topic]);
		const connection: LiveConnection = {
			principal: await far.authenticator.authenticate(credential),
			topics,
			end: ({ code }) => void ended.push(`${name} ${code}`),
			endTopic: (lost) => {
				topics.delete(lost);
				ended.push(`${name} topic`);
			},
			renewed: () => {},
		};
		far.live.add(connection);
	};
	await connect('token', accessToken);
	await connect('key', secret);
	const settle = async () => {
		for (let i = 0; i < 30; i++) await turn();
	};
	await settle();
	return { near, far, records, bob, topic, key, secret, accessToken, ended, settle };
}

test('a disabled account: known until then, refused and disconnected from then on', async () => {
	const { near, far, records, bob, secret, accessToken, ended, settle } = await connectedToDeafNode();
	await near.accounts.change(bob.accountId, { isActive: false });
	await settle();
	assert.deepEqual(ended, []);
	for (const credential of [accessToken, secret]) await far.authenticator.authenticate(credential);
	records.miss();
	for (const credential of [accessToken, secret]) await refused(() => far.authenticator.authenticate(credential), 'forbidden');
	await settle();
	assert.deepEqual(ended.sort(), ['key access_revoked', 'token access_revoked']);
});

test('a logout, a deleted key, a grant that was taken back', async () => {
	const { near, far, records, bob, topic, key, secret, accessToken, ended, settle } = await connectedToDeafNode();
	await near.topics.revoke(topic, bob.accountId, null);
	records.miss();
	await settle();
	assert.deepEqual(ended.splice(0).sort(), ['key topic', 'token topic']);
	await logOut(near, accessToken);
	await near.keys.delete(bob.accountId, key.keyId);
	await settle();
	assert.deepEqual(ended, []);
	records.miss();
	for (const credential of [accessToken, secret]) {
		await refused(() => far.authenticator.authenticate(credential), 'invalid_credentials');
	}
	await settle();
	assert.deepEqual(ended.sort(), ['key credentials_expired', 'token credentials_expired']);
});

test('a read that was under way when changes were missed is not kept', async () => {
	const { near, far, records, bob, accessToken, settle } = await connectedToDeafNode();
	records.miss();
	const answered = Promise.withResolvers<void>();
	records.answerAfter(answered.promise);
	const asked = far.accounts.get(bob.accountId);
	await settle();
	await near.accounts.change(bob.accountId, { isActive: false });
	records.miss();
	answered.resolve();
	assert.equal((await asked)?.isActive, true, 'who asked before is answered by what was true then');
	await refused(() => far.authenticator.authenticate(accessToken), 'forbidden');
});
