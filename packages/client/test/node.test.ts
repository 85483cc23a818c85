/** What back ends use: cursors in a file, and tokens for pages. */

import assert from 'node:assert/strict';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { type AuthRelay, startAuthRelay } from '../../server/test/support/auth-relay.ts';
import { startRelay } from '../../server/test/support/relay.ts';
import { connect } from '../src/index.ts';
import { fileCursors, mintScopedToken } from '../src/node.ts';

describe('cursors in a file', () => {
	let directory: string;
	before(async () => {
		directory = await mkdtemp(join(tmpdir(), 'pulsar-client-'));
	});
	after(() => rm(directory, { recursive: true }));

	test('a worker that starts again goes on after the last message that it was done with', async () => {
		const path = join(directory, 'cursors.json');
		const relay = await startRelay();
		await relay.publishMany('jobs', ['1', '2', '3']);
		const work = async (count: number) => {
			await using client = connect(relay.url, { cursors: fileCursors(path) });
			const seen: unknown[] = [];
			for await (const message of client.read('jobs', { from: 'earliest', name: 'worker' })) {
				seen.push(message.json());
				if (seen.length === count) break;
			}
			return seen;
		};
		assert.deepEqual(await work(2), [1, 2]);
		assert.deepEqual(Object.keys(JSON.parse(await readFile(path, 'utf8'))), ['worker\njobs']);
		assert.deepEqual(await work(2), [2, 3]);
		await relay.close();
	});

	test('saves that overlap leave the last of each name', async () => {
		const path = join(directory, 'many.json');
		const store = fileCursors(path);
		await Promise.all(Array.from({ length: 20 }, (_, n) => store.save(new Map([[`name${n % 3}`, `${n}-0`]]))));
		assert.deepEqual(JSON.parse(await readFile(path, 'utf8')), { name0: '18-0', name1: '19-0', name2: '17-0' });
	});

	test('a file that is none is said, and reading goes on without it', async () => {
		const path = join(directory, 'broken.json');
		await writeFile(path, 'not JSON');
		const relay = await startRelay();
		await relay.publishMany('jobs', ['1']);
		const errors: unknown[] = [];
		await using client = connect(relay.url, { cursors: fileCursors(path), onCursorError: (error) => errors.push(error) });
		for await (const message of client.read('jobs', { from: 'earliest', name: 'worker' })) {
			assert.equal(message.json(), 1);
			break;
		}
		assert.match(String(errors[0]), /broken\.json is no file of cursors/);
		await relay.close();
	});
});

describe('tokens', () => {
	let world: AuthRelay;
	before(async () => {
		world = await startAuthRelay();
	});
	after(() => world.close());

	for (const transport of ['ws', 'sse', 'poll'] as const) {
		test(`a page reads with a scoped token, and takes another when it expires, over ${transport}`, async () => {
			const alice = await world.person(`alice-${transport}`);
			const { secret } = await world.key(alice, ['publish', 'subscribe'], ['*']);
			const topic = `news-${transport}`;
			let minted = 0;
			await using page = connect(world.url, {
				transports: [transport],
				token: async () => {
					minted++;
					const scopes = [{ actions: ['subscribe' as const], topics: [topic] }];
					return (await mintScopedToken(world.url, secret, scopes, { expiresInS: 1 })).token;
				},
			});
			await using producer = connect(world.url, { token: secret });
			const seen: unknown[] = [];
			await producer.publish(topic, 0);
			for await (const message of page.read(topic, { from: 'earliest' })) {
				seen.push(message.json());
				if (seen.length === 4) break;
				// Beyond the life of the token that the page has now.
				setTimeout(() => void producer.publish(topic, seen.length), 700);
			}
			assert.deepEqual(seen, [0, 1, 2, 3]);
			assert(minted >= 2, `${minted} tokens`);
		});
	}

	test('a key that the relay does not know is refused with its error', async () => {
		await assert.rejects(mintScopedToken(world.url, 'prk_none_none', []), { name: 'RelayError', status: 401 });
	});

	test('a token that may not read a topic ends that read alone', async () => {
		const bob = await world.person('bob');
		const { secret } = await world.key(bob, ['publish', 'subscribe'], ['mine']);
		await using client = connect(world.url, { token: secret });
		await client.publish('mine', 1);
		const mine = client.read('mine', { from: 'earliest' });
		assert.equal((await mine.next()).value?.json(), 1);
		await assert.rejects(client.read('yours').next(), { code: 'forbidden' });
		await client.publish('mine', 2);
		assert.equal((await mine.next()).value?.json(), 2);
	});
});
