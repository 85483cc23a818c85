/**
 * `POST /api/v1/messages/stream`: messages as lines of a body of any length, with results streamed back meanwhile. What one
 * stream holds is bounded (I8): while it has enough under way, or the client does not read its results, its socket is not read.
 */

import type { IncomingMessage, OutgoingHttpHeaders, ServerResponse } from 'node:http';
import { RelayError } from '@pulsar-relay/protocol/errors';
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import type { Principal } from '../../../auth/principal.ts';
import { principalOf } from '../access.ts';
import type { BodyReader } from '../bodies.ts';
import type { HttpDeps } from '../deps.ts';
import { logDefect } from '../errors.ts';
import { scopedKey } from '../idempotency.ts';
import { headersOf } from '../raw-answer.ts';
import { watchRights } from '../rights.ts';
import { errorAnswers, IdempotencyHeaders, NDJSON_TYPE } from '../schemas.ts';
import type { LineBatch, LineContext } from './line-batch.ts';
import { LineIntake } from './line-intake.ts';

const PATH = '/api/v1/messages/stream';

/** Batches of one stream that may be with the store. */
const BATCHES_MAX = 16;
/** Bytes of one stream that may be with the store, beyond which no batch is added. */
const BYTES_MAX = 8 * 1024 * 1024;
/** When the publish queue is full, how long until the batch is offered again. */
const OVERLOAD_RETRY_MS = 20;
/** When the rate limit has nothing left, how long at most until it is asked again. */
const LIMIT_RETRY_MS_MAX = 1000;
/** How long a client may be quiet until its machine is asked whether it is still there. */
const PROBE_AFTER_MS = 60_000;
/** How often a stream looks whether the node drains or the client stands still. */
const CHECK_INTERVAL_MS = 250;

/** Registers the route. In this scope bodies are not read. */
export function registerPublishStream(scope: FastifyInstance, deps: HttpDeps, bodies: BodyReader): void {
	scope.addContentTypeParser(NDJSON_TYPE, (_request, _payload, done) => done(null, undefined));
	const publish = (request: FastifyRequest, reply: FastifyReply) => {
		const key = scopedKey(request.headers['idempotency-key'], principalOf(request));
		if (deps.relay.draining) throw new RelayError('shutting_down', 'this node is draining');
		reply.hijack();
		new PublishStream(deps, bodies, request, reply.raw, key).start(headersOf(reply));
	};
	scope.post(
		PATH,
		{
			schema: {
				operationId: 'publishStream',
				tags: ['publish'],
				summary: 'Publish any number of messages, one per line',
				description:
					'Results come back, in order, while the body is still being sent, so read them meanwhile: the relay stops reading from a ' +
					'client that does not. With an `Idempotency-Key`, each line is remembered by its number.',
				consumes: [NDJSON_TYPE],
				headers: IdempotencyHeaders,
				body: { type: 'string', description: 'Message objects, as for `POST /api/v1/messages`, one per line' },
				response: {
					200: {
						description: 'A result per line, then a summary',
						content: { [NDJSON_TYPE]: { schema: { type: 'string', examples: [EXAMPLE] } } },
					},
					...errorAnswers('bad_request', 'unsupported_media_type', 'internal_error', 'shutting_down'),
				},
			},
			validatorCompiler: () => () => true,
		},
		publish,
	);
}

const EXAMPLE =
	'{"line":1,"status":"accepted","message_id":"1795438000123-0","topic":"jobs","timestamp":"2026-11-23T12:46:40.123Z"}\n' +
	'{"line":2,"status":"rejected","error":"invalid_topic","message":"topic name starts with a dot"}\n' +
	'{"summary":{"total":2,"accepted":1,"rejected":1,"complete":true}}\n';

/**
 * - `reading`: lines are read, published, and answered.
 * - `ending`: no more is read; what is under way is answered, then the summary.
 * - `over`: answered, or the client is gone. Final.
 */
type StreamState = 'reading' | 'ending' | 'over';

/** One streamed publish, from its headers to its summary. */
class PublishStream {
	readonly #deps: HttpDeps;
	readonly #bodies: BodyReader;
	readonly #request: IncomingMessage;
	readonly #response: ServerResponse;
	readonly #requestId: string;
	#principal: Principal;
	#context: LineContext;
	readonly #intake: LineIntake;
	#state: StreamState = 'reading';
	/** Why the relay ended the stream before its body; null while it did not. */
	#cutBy: RelayError | null = null;
	/** Why the client may publish nothing more; null while it may. */
	#endOfRights: RelayError | null = null;
	/** Published batches, oldest first; results leave in this order. */
	readonly #underWay: LineBatch[] = [];
	#bytesUnderWay = 0;
	#flushDue = false;
	/** The publish queue or the rate limit had no room for the newest batch; it waits, and nothing may overtake it. */
	#refused = false;
	/** When the client was seen to read its results, or had none to read. */
	#readMs: number;
	#cancelCheck: () => void = () => {};
	#unwatch: () => void = () => {};
	#total = 0;
	#rejected = 0;

	constructor(deps: HttpDeps, bodies: BodyReader, request: FastifyRequest, response: ServerResponse, key: string | null) {
		this.#deps = deps;
		this.#bodies = bodies;
		this.#request = request.raw;
		this.#requestId = request.id;
		this.#response = response;
		const { clock, limits, rights, budgets, partyOf } = deps;
		const principal = principalOf(request);
		this.#principal = principal;
		this.#context = { clock, payloadDepthMax: limits.maxPayloadDepth, key, route: PATH, rights, principal };
		this.#readMs = deps.clock.monotonicMs();
		const intake = {
			budgets,
			party: partyOf(principal, request.raw),
			lineBytesMax: limits.maxBodyBytes,
			onChange: () => this.#scheduleFlush(),
			onLate: (error: RelayError) => this.#cut(error),
			isHeldUp: () => this.#refused || this.#waitsForStore,
		};
		this.#intake = new LineIntake(intake, this.#context);
	}

	start(headers: OutgoingHttpHeaders): void {
		this.#response.writeHead(200, { ...headers, 'content-type': NDJSON_TYPE });
		// Now, not with the first result: some clients begin to send the body, or to read results, once they have the headers.
		this.#response.flushHeaders();
		// A producer may be quiet for as long as it likes. One whose machine is gone is found out by the system's probes.
		this.#request.socket.setKeepAlive(true, PROBE_AFTER_MS);
		this.#response.on('close', () => this.#finish());
		this.#response.on('drain', () => {
			this.#readMs = this.#deps.clock.monotonicMs();
			this.#answer();
		});
		this.#request.on('data', (chunk: Buffer) => {
			if (this.#state !== 'reading') return;
			this.#intake.add(chunk);
			this.#readOn();
		});
		this.#request.on('end', () => {
			if (this.#state === 'reading') this.#intake.end();
		});
		this.#scheduleCheck();
		this.#unwatch = watchRights(this.#deps.auth, this.#principal, {
			topics: () => [],
			end: (error) => {
				this.#endOfRights = error;
				this.#cut(error);
			},
			endTopic: () => {},
			renewed: (principal) => {
				this.#principal = principal;
				this.#context = { ...this.#context, principal };
				this.#intake.context = this.#context;
			},
		});
	}

	/** Once per turn of the event loop: what came in many small chunks goes on as one batch. */
	#scheduleFlush(): void {
		if (this.#flushDue) return;
		this.#flushDue = true;
		this.#deps.clock.soon(() => {
			this.#flushDue = false;
			this.#flush();
		});
	}

	#flush(): void {
		if (this.#state === 'over' || this.#refused) return;
		const batch = this.#intake.takeBatch();
		if (batch !== null) {
			this.#underWay.push(batch);
			this.#bytesUnderWay += batch.costBytes;
			this.#publishInTime(batch);
		}
		this.#readOn();
		this.#endWhenDone();
	}

	/** A stream that is ahead of its rate limit is not refused, but read no faster than the limit allows. */
	#publishInTime(batch: LineBatch): void {
		if (this.#endOfRights !== null) {
			this.#drop(batch, this.#endOfRights);
			return;
		}
		const balance = this.#deps.limiting?.ask(this.#principal, batch.tokens);
		if (balance === undefined || balance.allowed) this.#publish(batch);
		else this.#later(Math.min(balance.retryAfterMs, LIMIT_RETRY_MS_MAX), () => this.#publishInTime(batch));
	}

	#publish(batch: LineBatch): void {
		if (this.#endOfRights !== null) {
			this.#drop(batch, this.#endOfRights);
			return;
		}
		const decided = batch.decide();
		if (decided !== null) {
			this.#publishAfter(batch, decided);
			return;
		}
		batch.publish(this.#deps.relay).then(
			(result) => {
				if (result === 'overloaded') this.#publishLater(batch);
				else this.#answer();
			},
			(error: unknown) => {
				logDefect(this.#deps.logger, this.#requestId, error);
				this.#abort();
			},
		);
	}

	/** The newest batch, which had to wait, is not published, and its lines get no answer. */
	#drop(batch: LineBatch, reason: RelayError): void {
		this.#underWay.pop();
		this.#bytesUnderWay -= batch.costBytes;
		this.#cutBy = reason;
		this.#endWhenDone();
	}

	/** Rights are looked up before the batch is published; until then no later one may overtake it. */
	#publishAfter(batch: LineBatch, decided: Promise<void>): void {
		this.#refused = true;
		this.#request.pause();
		decided.then(
			() => {
				if (this.#state === 'over') return;
				this.#refused = false;
				this.#publish(batch);
				this.#scheduleFlush();
			},
			() => this.#abort(),
		);
	}

	/**
	 * The queue is full of others' messages: the wait is passed on to the client's socket. It is known within the turn of the
	 * publish, before any later batch, so that the order of the lines is kept.
	 */
	#publishLater(batch: LineBatch): void {
		this.#later(OVERLOAD_RETRY_MS, () => this.#publish(batch));
	}

	/** Goes on with a batch after a while; until then no later one may overtake it. */
	#later(delayMs: number, publish: () => void): void {
		this.#refused = true;
		this.#request.pause();
		this.#deps.clock.after(delayMs, () => {
			if (this.#state === 'over') return;
			this.#refused = false;
			publish();
			this.#scheduleFlush();
		});
	}

	/** Sends the answers of the batches that are settled, in order, as far as the client takes them. */
	#answer(): void {
		while (this.#state !== 'over' && !this.#response.writableNeedDrain) {
			const batch = this.#underWay[0];
			const answers = batch?.answers ?? null;
			if (batch === undefined || answers === null) break;
			this.#underWay.shift();
			this.#bytesUnderWay -= batch.costBytes;
			this.#total += batch.size;
			this.#rejected += batch.rejections.length;
			for (const code of batch.rejections) this.#deps.metrics.errorAnswered('http', code);
			if (batch.defect !== null) logDefect(this.#deps.logger, this.#requestId, batch.defect);
			this.#response.write(answers);
		}
		this.#readOn();
		this.#endWhenDone();
	}

	/** Goes on reading exactly while there is room for what comes. */
	#readOn(): void {
		if (this.#state !== 'reading') return;
		const room =
			!this.#refused &&
			!this.#response.writableNeedDrain &&
			this.#underWay.length < BATCHES_MAX &&
			this.#bytesUnderWay < BYTES_MAX;
		if (room && this.#intake.hasMore) this.#intake.look();
		if (room && this.#intake.open) this.#request.resume();
		else this.#request.pause();
	}

	#endWhenDone(): void {
		if (this.#state === 'reading' && this.#intake.ended) this.#state = 'ending';
		const settled = this.#underWay.length === 0 && this.#intake.lines === 0;
		if (this.#state !== 'ending' || !settled || this.#response.writableNeedDrain) return;
		const counts = `"total":${this.#total},"accepted":${this.#total - this.#rejected},"rejected":${this.#rejected}`;
		const cutBy = this.#cutBy;
		const end =
			cutBy === null ? '"complete":true' : `"complete":false,"reason":"${cutBy.code}","message":${JSON.stringify(cutBy.message)}`;
		this.#response.end(`{"summary":{${counts},${end}}}\n`);
		if (cutBy !== null) this.#bodies.discard(this.#request);
		this.#finish();
	}

	#abort(): void {
		// First, because the response may not be written to once it is destroyed.
		this.#finish();
		this.#response.destroy();
	}

	#finish(): void {
		this.#state = 'over';
		this.#cancelCheck();
		this.#unwatch();
		this.#intake.release();
		this.#underWay.length = 0;
	}

	/** It is for the relay to go on: what the client has sent is with the store. */
	get #waitsForStore(): boolean {
		return this.#underWay.length > 0 && !this.#response.writableNeedDrain;
	}

	#scheduleCheck(): void {
		this.#cancelCheck = this.#deps.clock.after(CHECK_INTERVAL_MS, () => {
			if (this.#deps.relay.draining) this.#cut(new RelayError('shutting_down', 'this node is draining'));
			else this.#checkReading();
			if (this.#state !== 'over') this.#scheduleCheck();
		});
	}

	/** A client that does not read its results for the body timeout is cut off. */
	#checkReading(): void {
		const { clock, limits, metrics } = this.#deps;
		const nowMs = clock.monotonicMs();
		if (!this.#response.writableNeedDrain) this.#readMs = nowMs;
		if (nowMs - this.#readMs < limits.bodyTimeoutS * 1000) return;
		metrics.errorAnswered('http', 'request_timeout');
		this.#abort();
	}

	/** Ends the stream before its body: lines that were not looked at yet get no answer. */
	#cut(error: RelayError): void {
		if (this.#state !== 'reading') return;
		this.#deps.metrics.errorAnswered('http', error.code);
		this.#request.pause();
		this.#intake.release();
		this.#cutBy = error;
		this.#state = 'ending';
		this.#scheduleFlush();
	}
}
