/** What others notice: how long their requests take. */

import assert from 'node:assert/strict';
import { postBytes, RawConnection } from '../../support/raw-http.ts';

/** 99th percentiles, in ms. */
export interface Latencies {
	readonly healthMs: number;
	readonly publishMs: number;
}

const HEALTH = Buffer.from('GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n');

/** Asks for `/health` and publishes on behalf of an account, one after the other, each on a connection of its own, for a while. */
export async function measure(url: string, token: string, durationMs: number): Promise<Latencies> {
	const port = Number(new URL(url).port);
	const publish = postBytes('/api/v1/messages', '{"topic":"victims","payload":{"job":42}}', [`Authorization: Bearer ${token}`]);
	const [healthMs, publishMs] = await Promise.all([
		latencies(port, HEALTH, 200, durationMs),
		latencies(port, publish, 201, durationMs),
	]);
	return { healthMs: p99(healthMs), publishMs: p99(publishMs) };
}

/** The 99th percentile of `/health` alone, of any server. */
export async function measureHealth(url: string, durationMs: number): Promise<number> {
	return p99(await latencies(Number(new URL(url).port), HEALTH, 200, durationMs));
}

async function latencies(port: number, request: Buffer, status: number, durationMs: number): Promise<number[]> {
	const connection = new RawConnection(port);
	const taken: number[] = [];
	const endMs = performance.now() + durationMs;
	while (performance.now() < endMs) {
		const startedMs = performance.now();
		connection.send(request);
		const answer = await connection.answer();
		assert.equal(answer?.status, status);
		taken.push(performance.now() - startedMs);
		await new Promise((resolve) => setTimeout(resolve, 1));
	}
	connection.end();
	return taken;
}

function p99(values: readonly number[]): number {
	const sorted = values.toSorted((a, b) => a - b);
	return sorted[Math.floor(sorted.length * 0.99)] ?? Number.NaN;
}
