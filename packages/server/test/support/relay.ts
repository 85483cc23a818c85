/** A relay in this process, on a port of its own, with a data directory of its own; and plain requests to it. */

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { isAbsolute, join } from 'node:path';
import { PassThrough } from 'node:stream';
import { createApp } from '../../src/app.ts';
import { loadConfig } from '../../src/config/load.ts';
import { createLogger } from '../../src/ops/logger.ts';

export interface TestRelay {
	/** `http://127.0.0.1:<port>` */
	readonly url: string;
	readonly metricsUrl: string;
	/** Publishes one message whose payload is the given JSON text, and resolves with its id once it is stored. */
	publish(
		topic: string,
		payloadJson: string,
		more?: { readonly ttl?: number; readonly metadata?: Record<string, string> },
	): Promise<string>;
	/** Publishes texts in order through the stream route; resolves with their ids. */
	publishMany(topic: string, payloadJsons: readonly string[]): Promise<readonly string[]>;
	request(method: string, path: string, body?: unknown): Promise<{ readonly status: number; readonly json: unknown }>;
	/** What the relay has logged so far. */
	log(): string;
	drain(): Promise<void>;
	close(): Promise<void>;
}

/** Starts a relay with `PULSAR_*` settings; by default on the embedded store. */
export async function startRelay(env: Readonly<Record<string, string>> = {}): Promise<TestRelay> {
	const dataDir = await mkdtemp(join(tmpdir(), 'pulsar-relay-test-'));
	const loaded = loadConfig({
		argv: [],
		env: { PULSAR_PORT: '0', PULSAR_DATA_DIR: dataDir, ...env },
		// Files of secrets, and none that happens to lie in the working directory.
		readFile(path) {
			if (isAbsolute(path)) return readFileSync(path, 'utf8');
			throw Object.assign(new Error('no such file'), { code: 'ENOENT' });
		},
	});
	assert(loaded.status === 'ok', JSON.stringify(loaded));
	const lines: string[] = [];
	const to = new PassThrough();
	to.on('data', (chunk: Buffer) => lines.push(chunk.toString()));
	const level = env['PULSAR_LOG_LEVEL'] === undefined ? 'debug' : loaded.config.logLevel;
	const logger = createLogger({ level, format: 'json', to });
	const app = await createApp({ config: loaded.config, logger, openFilesMax: null, lostLogLines: () => 0 });
	const removeData = () => rm(dataDir, { recursive: true, force: true });
	const { url, metricsUrl } = await app.listen().catch(async (error: unknown) => {
		await app.close();
		await removeData();
		throw error;
	});

	return {
		url,
		metricsUrl,
		async publish(topic, payloadJson, more = {}) {
			const body = `{"topic":${JSON.stringify(topic)},"payload":${payloadJson},"ttl":${more.ttl ?? null},"metadata":${JSON.stringify(more.metadata ?? null)}}`;
			const response = await fetch(`${url}/api/v1/messages`, {
				method: 'POST',
				headers: { 'content-type': 'application/json' },
				body,
			});
			const answer = (await response.json()) as { message_id: string };
			assert.equal(response.status, 201, JSON.stringify(answer));
			return answer.message_id;
		},
		async publishMany(topic, payloadJsons) {
			const body = payloadJsons.map((payload) => `{"topic":${JSON.stringify(topic)},"payload":${payload}}\n`).join('');
			const response = await fetch(`${url}/api/v1/messages/stream`, {
				method: 'POST',
				headers: { 'content-type': 'application/x-ndjson' },
				body,
			});
			assert.equal(response.status, 200);
			const results = (await response.text())
				.trimEnd()
				.split('\n')
				.map((line) => JSON.parse(line) as { message_id?: string; status?: string });
			const ids = results.slice(0, -1).map((result) => result.message_id ?? assert.fail(JSON.stringify(result)));
			assert.equal(ids.length, payloadJsons.length);
			return ids;
		},
		async request(method, path, body) {
			const response = await fetch(`${url}${path}`, {
				method,
				...(body === undefined ? {} : { headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) }),
			});
			const text = await response.text();
			return { status: response.status, json: text === '' ? null : (JSON.parse(text) as unknown) };
		},
		log: () => lines.join(''),
		async drain() {
			await app.drain();
			await removeData();
		},
		async close() {
			await app.close();
			await removeData();
		},
	};
}
