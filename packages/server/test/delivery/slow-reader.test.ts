/** A slow reader costs nobody else (I5). */

import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import type { Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { startRelayProcess } from '../support/process.ts';
import { clientFrame, dialWebSocket } from '../support/raw-websocket.ts';
import { idsOf, websocket } from '../support/readers.ts';
import { startRelay } from '../support/relay.ts';

const MESSAGE_BYTES = 4096;

test('a reader that reads nothing, among 100 that do, holds none of them up and gets everything once it reads', async () => {
	const relay = await startRelay({ PULSAR_HOT_TIER_MAX_BYTES: String(2 * 1024 * 1024) });
	const slow = await stalledReader(relay.url, 'slow');
	const fast = await Promise.all(Array.from({ length: 100 }, () => websocket.open(relay.url, ['slow'], 'last')));
	// 12 MiB: more than the kernel's socket buffers and the relay's own take for a peer that does not read.
	const ids: string[] = [];
	for (let i = 0; i < 12; i++) ids.push(...(await relay.publishMany('slow', payloads(256))));
	await Promise.all(fast.map((reader) => reader.until((received) => received.length >= ids.length)));
	for (const reader of fast) assert.deepEqual(idsOf(reader.received), ids);
	const behind = await metric(relay.url, 'relay_subscriptions_behind');
	assert.equal(behind, 1);

	assert.deepEqual(await slow.readIds(ids.length), ids);
	await Promise.all(fast.map((reader) => reader.close()));
	slow.socket.destroy();
	await relay.close();
});

test('memory does not grow with what a stalled reader has not read', async () => {
	const dataDir = await mkdtemp(join(tmpdir(), 'pulsar-relay-slow-'));
	const relay = await startRelayProcess(dataDir, { PULSAR_HOT_TIER_MAX_BYTES: String(4 * 1024 * 1024) });
	const slow = await stalledReader(relay.url, 'slow');
	const publish = async () => {
		const body = payloads(4096)
			.map((payload) => `{"topic":"slow","payload":${payload}}\n`)
			.join('');
		const response = await fetch(`${relay.url}/api/v1/messages/stream`, {
			method: 'POST',
			headers: { 'content-type': 'application/x-ndjson' },
			body,
		});
		await response.arrayBuffer();
	};
	// The first rounds let the heap find its size; what comes then is 256 MiB that the reader does not take.
	for (let i = 0; i < 4; i++) await publish();
	const beforeBytes = await metric(relay.url, 'process_resident_memory_bytes');
	for (let i = 0; i < 16; i++) await publish();
	const grownMiB = ((await metric(relay.url, 'process_resident_memory_bytes')) - beforeBytes) / 2 ** 20;
	assert(grownMiB < 128, `grew by ${grownMiB} MiB`);
	slow.socket.destroy();
	await relay.end('SIGKILL');
	await rm(dataDir, { recursive: true, force: true });
});

function payloads(count: number): string[] {
	return Array.from({ length: count }, () => `"${randomBytes(MESSAGE_BYTES / 2).toString('hex')}"`);
}

async function metric(url: string, name: string): Promise<number> {
	const text = await (await fetch(`${url}/metrics`)).text();
	const value = new RegExp(`^${name} (\\S+)$`, 'm').exec(text)?.[1];
	assert(value !== undefined, `no metric ${name}`);
	return Number(value);
}

interface StalledReader {
	readonly socket: Socket;
	/** Begins to read, and resolves with the ids of the first `count` messages. */
	readIds(count: number): Promise<string[]>;
}

/** A WebSocket subscriber on a bare socket that, once subscribed, reads nothing: its receive window goes to zero. */
async function stalledReader(url: string, topic: string): Promise<StalledReader> {
	const socket = dialWebSocket(url);
	let rest = '';
	const subscribed = new Promise<void>((resolve) => {
		socket.on('data', function take(chunk: Buffer) {
			rest += chunk.toString('latin1');
			if (!rest.includes('"subscribed"')) return;
			socket.off('data', take);
			socket.pause();
			resolve();
		});
	});
	socket.write(clientFrame(0x81, Buffer.from(JSON.stringify({ type: 'subscribe', topics: [topic] }))));
	await subscribed;
	return {
		socket,
		readIds: (count) =>
			new Promise((resolve) => {
				const ids: string[] = [];
				let tail = '';
				socket.on('data', (chunk: Buffer) => {
					const text = tail + chunk.toString('latin1');
					const found = [...text.matchAll(/"message_id":"([0-9]+-[0-9]+)"/g)];
					for (const match of found) ids.push(match[1] as string);
					const last = found.at(-1);
					tail = last === undefined ? text.slice(-64) : text.slice((last.index ?? 0) + last[0].length).slice(-64);
					if (ids.length >= count) resolve(ids);
				});
				socket.resume();
			}),
	};
}
