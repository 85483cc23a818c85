/**
 * Request bodies: received whole, within a size and a time, by whoever needs them whole. A body that came with the headers, as
 * small ones do, costs one listener; what takes longer is counted, bounded over all connections, and given up on in time (I8).
 */

import type { IncomingMessage } from 'node:http';
import { RelayError } from '@pulsar-relay/protocol/errors';
import type { Clock } from '../../ports/clock.ts';
import { ByteQuota } from './byte-quota.ts';
import { Spool } from './spool.ts';

export interface BodyReaderOptions {
	readonly clock: Clock;
	/** From the start of reading to the end of the body. */
	readonly timeoutMs: number;
	/** Bytes held of all bodies and lines that have only come in part. */
	readonly receivingBytesMax: number;
}

/** Called once with the body or with why there is none, and never when the client goes away before either. */
export type BodyDone = (error: RelayError | null, body: Buffer | undefined) => void;

interface Pending {
	readonly request: IncomingMessage;
	readonly dueMs: number;
	readonly onDue: () => void;
}

const EMPTY = Buffer.alloc(0);
const SWEEP_INTERVAL_MS = 250;
/**
 * How long what is left of a body is read and dropped after the request was answered without it. A client that only reads once
 * it has sent everything gets its answer that way; closing at once would reset the connection under it.
 */
const DISCARD_MS = 5000;

export class BodyReader {
	/** Room for what is still arriving; lines of streamed bodies take theirs here too. */
	readonly receiving: ByteQuota;
	readonly #options: BodyReaderOptions;
	readonly #pending = new Set<Pending>();
	#cancelSweep: (() => void) | null = null;

	constructor(options: BodyReaderOptions) {
		this.#options = options;
		this.receiving = new ByteQuota(options.receivingBytesMax);
	}

	/**
	 * Reads a body, which is empty when the request has none. Fails with `payload_too_large` over `bytesMax`, counted also when no
	 * length was declared, `request_timeout`, or `overloaded` when too much is being received; what is left of the body is then for
	 * {@link discard}. Nobody else may read the request.
	 */
	read(request: IncomingMessage, bytesMax: number, done: BodyDone): void {
		const declared = declaredBytes(request);
		if (declared === 0) {
			done(null, EMPTY);
			return;
		}
		if (declared !== null && declared > bytesMax) {
			done(tooLarge(bytesMax), undefined);
			return;
		}
		let spool: Spool | null = null;
		let held = 0;
		let over = false;
		const release = () => {
			over = true;
			this.#pending.delete(pending);
			this.receiving.give(held);
			held = 0;
			spool = null;
		};
		const settle = (error: RelayError | null, body: Buffer | undefined) => {
			if (spool !== null) request.off('close', release);
			release();
			// The data listener stays, so that after a failure the rest goes on to be read, and dropped.
			done(error, body);
		};
		request.on('data', (chunk: Buffer) => {
			if (over) return;
			if (spool === null) {
				if (chunk.byteLength === declared) {
					settle(null, chunk);
					return;
				}
				spool = new Spool();
				request.on('close', release);
			}
			if (held + chunk.byteLength > bytesMax) {
				settle(tooLarge(bytesMax), undefined);
				return;
			}
			if (!this.receiving.take(chunk.byteLength)) {
				settle(tooManyBytes(), undefined);
				return;
			}
			spool.add(chunk);
			held += chunk.byteLength;
			if (held === declared) settle(null, spool.take());
		});
		if (declared === null) {
			request.on('end', () => {
				if (!over) settle(null, spool?.take() ?? EMPTY);
			});
		}
		const pending = this.#expect(request, this.#options.timeoutMs, () => {
			settle(new RelayError('request_timeout', 'the body did not arrive in time'), undefined);
		});
	}

	/** Reads and drops what is left of a body that nobody wants, for a while; then cuts the connection. */
	discard(request: IncomingMessage): void {
		if (request.complete || request.destroyed) return;
		request.resume();
		this.#expect(request, DISCARD_MS, () => request.destroy());
	}

	/** Stops the timer. */
	close(): void {
		this.#cancelSweep?.();
		this.#pending.clear();
	}

	#expect(request: IncomingMessage, waitMs: number, onDue: () => void): Pending {
		const pending = { request, dueMs: this.#options.clock.monotonicMs() + waitMs, onDue };
		this.#pending.add(pending);
		this.#cancelSweep ??= this.#options.clock.after(SWEEP_INTERVAL_MS, () => this.#sweep());
		return pending;
	}

	/** One look at all that is pending, rather than a timer for each: nearly all requests are over before the first look. */
	#sweep(): void {
		this.#cancelSweep = null;
		const nowMs = this.#options.clock.monotonicMs();
		for (const pending of [...this.#pending]) {
			const { request, dueMs, onDue } = pending;
			const over = request.complete || request.destroyed;
			if (!over && nowMs < dueMs) continue;
			this.#pending.delete(pending);
			if (!over) onDue();
		}
		if (this.#pending.size > 0) this.#cancelSweep = this.#options.clock.after(SWEEP_INTERVAL_MS, () => this.#sweep());
	}
}

/** Whether a request has a body, as far as its headers say. */
export function hasBody(request: IncomingMessage): boolean {
	return declaredBytes(request) !== 0;
}

/** The length in `Content-Length`, of which Node's parser let only digits pass; 0 without a body, null when it comes in chunks. */
function declaredBytes({ headers }: IncomingMessage): number | null {
	const declared = headers['content-length'];
	if (declared !== undefined) return Number(declared);
	return headers['transfer-encoding'] === undefined ? 0 : null;
}

function tooLarge(bytesMax: number): RelayError {
	return new RelayError('payload_too_large', `the body is larger than ${bytesMax} bytes`);
}

function tooManyBytes(): RelayError {
	return new RelayError('overloaded', 'too many request bodies are arriving at once');
}
