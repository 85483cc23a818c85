/**
 * Request bodies: received whole, within a size and a time, by whoever needs them whole. A body that came with the headers, as
 * small ones do, costs one listener; of what takes longer the budgets know (I8).
 */

import type { IncomingMessage } from 'node:http';
import { RelayError } from '@pulsar-relay/protocol/errors';
import type { FastifyRequest } from 'fastify';
import { type Reception, type Receptions, tooManyBytes } from '../../limits/receptions.ts';
import type { Clock } from '../../ports/clock.ts';
import { BodyBuffer } from './body-buffer.ts';
import type { PartyOf } from './party-of.ts';

export interface BodyReaderOptions {
	readonly clock: Clock;
	readonly receptions: Receptions;
	readonly partyOf: PartyOf;
}

/** Called once with the body or with why there is none, and never when the client goes away before either. */
export type BodyDone = (error: RelayError | null, body: Buffer | undefined) => void;

/** What is left of a body that nobody wants. */
interface Discarded {
	readonly request: IncomingMessage;
	readonly dueMs: number;
}

const EMPTY = Buffer.alloc(0);
const SWEEP_INTERVAL_MS = 250;
/**
 * How long what is left of a body is read and dropped after the request was answered without it. A client that only reads once
 * it has sent everything gets its answer that way; closing at once would reset the connection under it.
 */
const DISCARD_MS = 5000;

export class BodyReader {
	readonly #options: BodyReaderOptions;
	readonly #discarded = new Set<Discarded>();
	#cancelSweep: (() => void) | null = null;

	constructor(options: BodyReaderOptions) {
		this.#options = options;
	}

	/**
	 * Reads a body, which is empty when the request has none. Fails with `payload_too_large` over `bytesMax`, counted also when no
	 * length was declared, `request_timeout`, or `overloaded` when too much is being received; what is left of the body is then for
	 * {@link discard}. Nobody else may read the request.
	 */
	read({ raw, principal }: Pick<FastifyRequest, 'raw' | 'principal'>, bytesMax: number, done: BodyDone): void {
		const declared = declaredBytes(raw);
		if (declared === 0) {
			done(null, EMPTY);
			return;
		}
		if (declared !== null && declared > bytesMax) {
			done(tooLarge(bytesMax), undefined);
			return;
		}
		let buffer: BodyBuffer | null = null;
		let over = false;
		const release = () => {
			over = true;
			buffer = null;
			reception.end();
		};
		const settle = (error: RelayError | null, body: Buffer | undefined) => {
			if (buffer !== null) raw.off('close', release);
			release();
			// The data listener stays, so that after a failure the rest goes on to be read, and dropped.
			done(error, body);
		};
		const { receptions, partyOf } = this.#options;
		const reception: Reception = receptions.begin({
			party: () => partyOf(principal, raw),
			onFail: (error) => settle(error, undefined),
			isOver: () => raw.destroyed,
		});
		raw.on('data', (chunk: Buffer) => {
			if (over) return;
			if (buffer === null) {
				if (chunk.byteLength === declared) {
					settle(null, chunk);
					return;
				}
				buffer = new BodyBuffer(declared);
				raw.on('close', release);
			}
			const heldBytes = buffer.byteLength + chunk.byteLength;
			if (heldBytes > bytesMax) {
				settle(tooLarge(bytesMax), undefined);
				return;
			}
			if (!reception.take(chunk.byteLength)) {
				settle(tooManyBytes(), undefined);
				return;
			}
			buffer.add(chunk);
			if (heldBytes === declared) settle(null, buffer.take());
		});
		if (declared === null) {
			raw.on('end', () => {
				if (!over) settle(null, buffer?.take() ?? EMPTY);
			});
		}
	}

	/** Reads and drops what is left of a body that nobody wants, for a while; then cuts the connection. */
	discard(request: IncomingMessage): void {
		if (request.complete || request.destroyed) return;
		request.resume();
		this.#discarded.add({ request, dueMs: this.#options.clock.monotonicMs() + DISCARD_MS });
		this.#cancelSweep ??= this.#options.clock.after(SWEEP_INTERVAL_MS, () => this.#sweep());
	}

	/** Stops the timer. */
	close(): void {
		this.#cancelSweep?.();
		this.#discarded.clear();
	}

	#sweep(): void {
		this.#cancelSweep = null;
		const nowMs = this.#options.clock.monotonicMs();
		for (const discarded of this.#discarded) {
			const { request, dueMs } = discarded;
			const over = request.complete || request.destroyed;
			if (!over && nowMs < dueMs) continue;
			this.#discarded.delete(discarded);
			if (!over) request.destroy();
		}
		if (this.#discarded.size > 0) this.#cancelSweep = this.#options.clock.after(SWEEP_INTERVAL_MS, () => this.#sweep());
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
