/**
 * Subscribers for tests: one interface, three transports. Each keeps everything it was sent, in order, as it came over the wire,
 * and can be asked to wait for more.
 */

import assert from 'node:assert/strict';
import { objectScanner, scanArray } from '@pulsar-relay/protocol/json-scan';
import { WebSocket } from 'ws';

export type Received =
	| {
			readonly kind: 'message';
			readonly topic: string;
			readonly id: string;
			readonly payload: string;
			readonly metadata: unknown;
	  }
	| { readonly kind: 'gap'; readonly topic: string; readonly reason: string; readonly from: string | null; readonly to: string }
	| { readonly kind: 'deleted'; readonly topic: string };

/** Where to start: `last`, `earliest`, a message id, or a position per topic. */
export type From = string | Readonly<Record<string, string>>;

export interface Reader {
	/** Everything received so far. */
	readonly received: readonly Received[];
	/** When each of them came, by `performance.now()`. */
	readonly receivedAtMs: readonly number[];
	/** Where the relay says that it stood once it had begun, per topic. */
	readonly cursors: Readonly<Record<string, string>>;
	/** Resolves when the connection has ended, whichever side ended it. To whoever does not ask, a break is an unhandled rejection. */
	readonly ended: Promise<void>;
	/** Resolves when `done` holds of what was received; rejects after ten seconds, with what there is. */
	until(done: (received: readonly Received[]) => boolean): Promise<void>;
	close(): Promise<void>;
}

export interface TransportUnderTest {
	readonly name: string;
	/** Starts reading; resolves once the relay follows the topics for this reader. */
	open(url: string, topics: readonly string[], from: From): Promise<Reader>;
}

const scanMessage = objectScanner(['payload']);

class Trace {
	readonly received: Received[] = [];
	readonly receivedAtMs: number[] = [];
	#changed: () => void = () => {};

	add(item: Received): void {
		this.received.push(item);
		this.receivedAtMs.push(performance.now());
		this.#changed();
	}

	/** Adds a message object from its text, with the payload as the bytes that came. */
	addMessage(text: string): void {
		const bytes = Buffer.from(text);
		const scan = scanMessage(bytes, 0, bytes.byteLength, 10_000);
		assert(scan.status === 'ok', text);
		const [range] = scan.members;
		assert(range !== undefined, text);
		const { topic, message_id: id, metadata } = JSON.parse(text) as { topic: string; message_id: string; metadata: unknown };
		this.add({ kind: 'message', topic, id, payload: bytes.toString('utf8', range.start, range.end), metadata });
	}

	addGap(gap: { topic: string; reason: string; from: string | null; to: string }): void {
		this.add({ kind: 'gap', topic: gap.topic, reason: gap.reason, from: gap.from, to: gap.to });
	}

	/** The part of a reader that the trace is. */
	view(): Pick<Reader, 'received' | 'receivedAtMs' | 'until'> {
		return { received: this.received, receivedAtMs: this.receivedAtMs, until: (done) => this.until(done) };
	}

	until(done: (received: readonly Received[]) => boolean): Promise<void> {
		return new Promise((resolve, reject) => {
			const timer = setTimeout(() => {
				const tail = JSON.stringify(this.received.slice(-5)).slice(0, 1000);
				reject(new Error(`not received within ten seconds; ${this.received.length} so far, the last: ${tail}`));
			}, 10_000);
			this.#changed = () => {
				if (!done(this.received)) return;
				clearTimeout(timer);
				this.#changed = () => {};
				resolve();
			};
			this.#changed();
		});
	}
}

/** The ids of the messages received, optionally of one topic. */
export function idsOf(received: readonly Received[], topic?: string): string[] {
	return received.flatMap((item) => (item.kind === 'message' && (topic === undefined || item.topic === topic) ? [item.id] : []));
}

export const websocket: TransportUnderTest = {
	name: 'WebSocket',
	async open(url, topics, from) {
		const trace = new Trace();
		const socket = new WebSocket(`${url.replace('http', 'ws')}/ws`);
		const closed = new Promise<void>((resolve) => socket.on('close', () => resolve()));
		const ready = new Promise<Record<string, string>>((resolve, reject) => {
			socket.on('error', reject);
			socket.on('close', () => reject(new Error('closed before it was subscribed')));
			socket.on('message', (data: Buffer) => {
				const text = data.toString();
				const frame = JSON.parse(text) as {
					type: string;
					cursors: Record<string, string>;
					code?: string;
					details?: { topic: string };
				} & Parameters<Trace['addGap']>[0];
				if (frame.type === 'message') trace.addMessage(text);
				else if (frame.type === 'gap') trace.addGap(frame);
				else if (frame.type === 'subscribed') resolve(frame.cursors);
				else if (frame.code === 'topic_deleted') trace.add({ kind: 'deleted', topic: frame.details?.topic ?? '' });
				else reject(new Error(text));
			});
		});
		socket.on('open', () =>
			socket.send(
				JSON.stringify({ type: 'subscribe', topics, ...(typeof from === 'string' ? { offset: from } : { since: from }) }),
			),
		);
		const cursors = await ready;
		return {
			...trace.view(),
			cursors,
			ended: closed,
			async close() {
				socket.terminate();
				await closed;
			},
		};
	},
};

export const sse: TransportUnderTest = {
	name: 'SSE',
	async open(url, topics, from) {
		const trace = new Trace();
		const abort = new AbortController();
		const response = await fetch(`${url}/api/v1/events?topics=${topics.join(',')}`, {
			signal: abort.signal,
			headers: { 'last-event-id': sinceText(from) },
		});
		assert.equal(response.status, 200);
		assert(response.body !== null);
		const ready = Promise.withResolvers<Record<string, string>>();
		const reading = readEvents(response.body, (event, data) => {
			if (event === 'message') trace.addMessage(data);
			else if (event === 'subscribed') ready.resolve((JSON.parse(data) as { cursors: Record<string, string> }).cursors);
			else if (event === 'gap') trace.addGap(JSON.parse(data) as Parameters<Trace['addGap']>[0]);
			else trace.add({ kind: 'deleted', topic: (JSON.parse(data) as { topic: string }).topic });
		}).finally(() => ready.reject(new Error('ended before it was subscribed')));
		const cursors = await ready.promise.catch((error: unknown) => {
			reading.catch(ignore);
			throw error;
		});
		return {
			...trace.view(),
			cursors,
			get ended() {
				return reading.catch(ignore);
			},
			async close() {
				abort.abort();
				await reading;
			},
		};
	},
};

/** A poll loop: each answer's `next_offset` is the next question's `since`. */
export const longPoll: TransportUnderTest = {
	name: 'long-poll',
	async open(url, topics, from) {
		const trace = new Trace();
		const abort = new AbortController();
		const ask = async (since: string, timeoutS: number) => {
			const query = new URLSearchParams({ topics: topics.join(','), since, timeout: String(timeoutS), limit: '50' });
			const response = await fetch(`${url}/api/v1/poll?${query}`, { signal: abort.signal });
			const text = await response.text();
			assert.equal(response.status, 200, text);
			return { text, answer: JSON.parse(text) as { next_offset: string; gaps: Parameters<Trace['addGap']>[0][] } };
		};
		const take = ({ text, answer }: Awaited<ReturnType<typeof ask>>): string => {
			for (const gap of answer.gaps) {
				if (gap.reason === 'deleted') trace.add({ kind: 'deleted', topic: gap.topic });
				else trace.addGap(gap);
			}
			for (const message of messageTexts(text)) trace.addMessage(message);
			return answer.next_offset;
		};
		// The first question waits for nothing: it fixes the cursor from which the loop goes on.
		let since = take(await ask(sinceText(from), 0));
		const cursors = parseSince(since, topics);
		const reading = (async () => {
			while (!abort.signal.aborted) since = take(await ask(since, 30));
		})().catch((error: unknown) => {
			if (!abort.signal.aborted) throw error;
		});
		return {
			...trace.view(),
			cursors,
			get ended() {
				return reading.catch(ignore);
			},
			async close() {
				abort.abort();
				await reading;
			},
		};
	},
};

export const transports: readonly TransportUnderTest[] = [websocket, sse, longPoll];

function sinceText(from: From): string {
	if (typeof from === 'string') return from;
	return Object.entries(from)
		.map(([topic, id]) => `${topic}:${id}`)
		.join(',');
}

/** The cursor in each topic of a poll's `next_offset`. */
function parseSince(since: string, topics: readonly string[]): Record<string, string> {
	if (!since.includes(':')) return Object.fromEntries(topics.map((topic) => [topic, since]));
	return Object.fromEntries(since.split(',').map((one) => one.split(':') as [string, string]));
}

function ignore(): void {}

const scanAnswer = objectScanner(['messages']);

/** The message objects of a poll answer as the texts they came in. */
function messageTexts(answer: string): string[] {
	const bytes = Buffer.from(answer);
	const scan = scanAnswer(bytes, 0, bytes.byteLength, 10_000);
	assert(scan.status === 'ok');
	const [range] = scan.members;
	assert(range !== undefined);
	const elements = scanArray(bytes, range.start, range.end, { depthMax: 10_000, elementsMax: 10_000 });
	assert(elements.status === 'ok');
	return elements.elements.map(({ start, end }) => bytes.toString('utf8', start, end));
}

/** Reads events by the rules of the WHATWG specification that matter here; resolves when the stream ends or is aborted. */
async function readEvents(body: ReadableStream<Uint8Array>, take: (event: string, data: string) => void): Promise<void> {
	const decoder = new TextDecoder();
	let rest = '';
	let event = '';
	let data: string[] = [];
	const line = (text: string) => {
		if (text === '') {
			if (data.length > 0) take(event === '' ? 'message' : event, data.join('\n'));
			event = '';
			data = [];
		} else if (text.startsWith('event: ')) event = text.slice(7);
		else if (text.startsWith('data: ')) data.push(text.slice(6));
	};
	try {
		for await (const chunk of body) {
			const lines = (rest + decoder.decode(chunk, { stream: true })).split('\n');
			rest = lines.pop() ?? '';
			for (const text of lines) line(text);
		}
	} catch (error) {
		if (!(error instanceof Error && error.name === 'AbortError')) throw error;
	}
}
