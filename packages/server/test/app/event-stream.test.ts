/** Event streams over several topics: their event ids, and what they share. */

import assert from 'node:assert/strict';
import { IncomingMessage, ServerResponse } from 'node:http';
import { Socket } from 'node:net';
import { test } from 'node:test';
import type { Store } from '../../src/ports/store.ts';
import { HotBlock } from '../../src/relay/hot-block.ts';
import { Slice } from '../../src/relay/slice.ts';
import { SseSink } from '../../src/transports/sse/sink.ts';
import { startRelay } from '../support/relay.ts';
import { startSse } from '../support/start-sse.ts';
import { blockOf, message } from '../unit/relay/support/blocks.ts';
import { overlay } from '../unit/relay/support/fixture.ts';

test('event ids go on naming their topic when the other topics of the stream are deleted', async (t) => {
	const relay = await startRelay({ PULSAR_STORAGE_BACKEND: 'memory' });
	t.after(() => relay.close());
	const gone = await relay.publish('gone', '0');
	const abort = new AbortController();
	t.after(() => abort.abort());
	const response = await fetch(`${relay.url}/api/v1/events?topics=kept,gone`, { signal: abort.signal });
	assert(response.body !== null);
	const events = response.body.pipeThrough(new TextDecoderStream()).getReader();
	let text = '';
	const until = async (mark: string) => {
		while (!text.includes(mark)) text += (await events.read()).value ?? assert.fail(text);
	};
	await until(`id: kept:0-0,gone:${gone}`);
	assert.equal((await relay.request('DELETE', '/api/v1/topics/gone')).status, 204);
	await until('event: topic_deleted');
	const id = await relay.publish('kept', '1');
	await until(id);
	await until('"payload":1');
	assert.match(text, new RegExp(`^id: kept:${id}$`, 'm'));

	// The client reconnects with what it was given: nothing is ahead of the deleted topic, which simply starts anew.
	const again = await relay.request('GET', `/api/v1/poll?topics=kept,gone&since=kept:${id}&timeout=0`);
	assert.deepEqual((again.json as { gaps: unknown[] }).gaps, []);
});

test('a stream that is still being opened when the node drains is refused like any new request', async (t) => {
	const asked = Promise.withResolvers<void>();
	const release = Promise.withResolvers<void>();
	const wrapStore = (store: Store) =>
		overlay(store, {
			watch: async (topic) => {
				asked.resolve();
				await release.promise;
				return store.watch(topic);
			},
		});
	const http = await startSse(t, { wrapStore });
	const answering = fetch(`${http.url}/api/v1/events?topics=a`);
	await asked.promise;
	const drained = http.relay.drain();
	release.resolve();
	const answer = await answering;
	assert.equal(answer.status, 503);
	assert.equal(((await answer.json()) as { error: string }).error, 'shutting_down');
	await drained;
});

test('streams over several topics write the same bytes of a large message, not a copy each', () => {
	const slice = new Slice(
		'a',
		[{ block: new HotBlock('a', blockOf(1, 0, [message(`"${'x'.repeat(200_000)}"`)])), from: 0, to: 1 }],
		1,
	);
	const written = [0, 1].map(() => {
		const chunks: Buffer[] = [];
		const socket = new Socket();
		socket.write = (chunk: Uint8Array | string) => {
			chunks.push(typeof chunk === 'string' ? Buffer.from(chunk) : Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength));
			return true;
		};
		const response = new ServerResponse(new IncomingMessage(socket));
		response.useChunkedEncodingByDefault = false;
		response.assignSocket(socket);
		const sink = new SseSink(response, 1e9);
		sink.open(
			new Map([
				['a', { ms: 0, n: 0 }],
				['b', { ms: 0, n: 0 }],
			]),
			1000,
		);
		sink.flush();
		sink.deliver(slice);
		sink.flush();
		return { text: Buffer.concat(chunks).toString(), large: chunks.find((chunk) => chunk.byteLength > 200_000)?.buffer };
	});
	const [first, second] = written;
	assert.match(first?.text ?? '', /\ndata: \{"type":"message".*x".*\nid: a:1-0,b:0-0\n\n$/);
	assert(first?.text === second?.text);
	assert(first?.large !== undefined);
	assert(first.large === second?.large);
});
