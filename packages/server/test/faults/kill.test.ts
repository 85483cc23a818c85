/** Acked means stored (I2): a relay killed without warning, again and again, under load, has lost nothing it acknowledged. */

import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { type RelayProcess, startRelayProcess } from '../support/process.ts';
import { idsOf, websocket } from '../support/readers.ts';

const KILLS = 50;
const PUBLISHERS = 8;
const TOPIC = 'kill';

interface Acknowledged {
	readonly key: string;
	readonly id: string;
}

test(`${KILLS} × kill -9 under publish load loses no acknowledged message and duplicates none that has a key`, {
	timeout: 180_000,
}, async () => {
	const dataDir = await mkdtemp(join(tmpdir(), 'pulsar-relay-kill-'));
	const acknowledged: Acknowledged[] = [];
	let relay: RelayProcess | null = null;
	let restarted = Promise.withResolvers<string>();
	let stopping = false;

	/** Publishes one message until it is acknowledged, as a careful client does: same key, same body, whatever became of the last try. */
	const publishSurely = async (key: string): Promise<string> => {
		while (true) {
			const url = await restarted.promise;
			try {
				const response = await fetch(`${url}/api/v1/messages`, {
					method: 'POST',
					headers: { 'content-type': 'application/json', 'idempotency-key': key },
					body: `{"topic":"${TOPIC}","payload":"${key}"}`,
				});
				const answer = (await response.json()) as { message_id: string };
				if (response.status === 201) return answer.message_id;
				assert.equal(response.status, 503, JSON.stringify(answer));
			} catch (error) {
				// The connection broke: nothing is known of this try.
				if (!(error instanceof TypeError)) throw error;
				if ((await restarted.promise) === url) await new Promise((resolve) => setImmediate(resolve));
			}
		}
	};
	const publisher = async (name: number) => {
		for (let i = 0; !stopping; i++) {
			const key = `${name}-${i}`;
			acknowledged.push({ key, id: await publishSurely(key) });
		}
	};

	let publishing: Promise<unknown> = Promise.resolve();
	try {
		for (let kill = 0; kill < KILLS; kill++) {
			relay = await startRelayProcess(dataDir);
			restarted.resolve(relay.url);
			if (kill === 0) publishing = Promise.all(Array.from({ length: PUBLISHERS }, (_, name) => publisher(name)));
			// Killed once a random number of further messages is acknowledged, in the middle of the others.
			const enough = acknowledged.length + 1 + Math.floor(Math.random() * 60);
			while (acknowledged.length < enough) await new Promise((resolve) => setImmediate(resolve));
			restarted = Promise.withResolvers<string>();
			assert.equal(await relay.end('SIGKILL'), null);
		}
		relay = await startRelayProcess(dataDir);
		restarted.resolve(relay.url);
		stopping = true;
		await publishing;

		const reader = await websocket.open(relay.url, [TOPIC], 'earliest');
		const last = acknowledged
			.map(({ id }) => id)
			.sort(byId)
			.at(-1);
		await reader.until((received) => idsOf(received).at(-1) === last);
		await reader.close();
		const stored = reader.received.map((item) => {
			assert(item.kind === 'message');
			return { key: JSON.parse(item.payload) as string, id: item.id };
		});
		assert.deepEqual(stored.sort(byKey), acknowledged.sort(byKey));
	} finally {
		stopping = true;
		if (relay !== null && relay.child.exitCode === null && relay.child.signalCode === null) await relay.end('SIGKILL');
		await rm(dataDir, { recursive: true, force: true });
	}
});

function byKey(a: Acknowledged, b: Acknowledged): number {
	return a.key < b.key ? -1 : a.key > b.key ? 1 : 0;
}

function byId(a: string, b: string): number {
	const [aMs = 0, aN = 0] = a.split('-').map(Number);
	const [bMs = 0, bN = 0] = b.split('-').map(Number);
	return aMs - bMs || aN - bN;
}
