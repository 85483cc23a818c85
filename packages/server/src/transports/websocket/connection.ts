/**
 * One WebSocket connection: answers the frames that its queue gives it, and is given no more while its peer does not read the answers or
 * too much of it waits for the store (I8).
 */

import { randomBytes } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import type { Duplex } from 'node:stream';
import { ERRORS, RelayError } from '@pulsar-relay/protocol/errors';
import type { WebSocket } from 'ws';
import type { LiveConnection } from '../../auth/live-connections.ts';
import { holderOf, type KnownPrincipal, mayPublish, type Principal } from '../../auth/principal.ts';
import type { Held } from '../../limits/account-caps.ts';
import { tokensFor } from '../../limits/budgets.ts';
import type { Party } from '../../limits/party.ts';
import { atOnce, STEP_BYTES, type Steps } from '../../limits/turns.ts';
import { printable } from '../../ops/printable.ts';
import type { Session } from '../../relay/session.ts';
import type { HeartbeatMember } from '../http/heartbeat.ts';
import type { CommandContext, WebSocketDeps } from './command.ts';
import { commands } from './commands.ts';
import { type ClientFrame, TOPIC_FRAME_BYTES_MAX } from './frame.ts';
import { FrameQueue, type FrameRunner } from './frame-queue.ts';
import { Incoming, type MessageReceiver } from './incoming.ts';
import { type SinkPeer, WebSocketSink } from './sink.ts';

/** Beats without a sign of life after which a peer is taken for dead. */
const SILENT_BEATS_MAX = 2;
/** Pings and pongs of the peer that one second may bring. */
const CONTROL_FRAMES_PER_SECOND_MAX = 100;
/** Bytes of publishes under way at which a connection stops being read. */
const PUBLISH_BYTES_MAX = 4 * 1024 * 1024;
/** How long a connection that was given up on stays, for its peer to read why. What it holds of a message stays as long. */
const LAST_WORDS_MS = 1000;
/** The peer may come again later (RFC 6455, registered close codes). */
const TRY_AGAIN_LATER = 1013;
const POLICY_VIOLATION = 1008;
/** Frames that ask for nothing, and so cost nothing of the rate limit. */
const FREE_FRAMES: ReadonlySet<string> = new Set(['ping', 'ack']);
/** How long a peer may take to answer a close frame. */
export const CLOSE_TIMEOUT_MS = 5000;

/** What a connection is opened with. */
export interface Accepted {
	readonly socket: Duplex;
	readonly request: IncomingMessage;
	readonly principal: Principal;
}

export class WebSocketConnection implements HeartbeatMember, CommandContext, SinkPeer, MessageReceiver, FrameRunner {
	principal: Principal;
	readonly id: string;
	readonly deps: WebSocketDeps;
	readonly session: Session;
	/** Where the heartbeat has it. */
	heartbeatPlace = 0;
	/** What its account holds with it. */
	readonly held: Held | null;
	readonly #ws: WebSocket;
	readonly #sink: WebSocketSink;
	/** For {@link Incoming}: the largest message that may come now. */
	messageBytesMax: number;
	readonly #party: Party;
	readonly #incoming: Incoming;
	readonly #frames: FrameQueue;
	#givenUp = false;
	#publishBytes = 0;
	#flushDue = false;
	#silentBeats = 0;
	#controlFrames = 0;
	#controlSecond = 0;
	/** For the log; empty when it says nothing of connections. */
	readonly #client: string;
	readonly #openedMs: number;
	#framesIn = 0;
	/** Why the relay has closed it; null when it has not. */
	#closedFor: string | null = null;
	/** Topics followed when it was closed. */
	#topicsAtEnd: number | null = null;

	/** Throws what {@link Relay.attach} throws, and `account_limit`. */
	constructor(deps: WebSocketDeps, ws: WebSocket, { socket, request, principal }: Accepted) {
		this.id = `sess_${randomBytes(6).toString('hex')}`;
		this.principal = principal;
		this.deps = deps;
		this.#ws = ws;
		this.#sink = new WebSocketSink(socket, deps.socketBufferBytes, this);
		this.#party = deps.partyOf(principal, request);
		this.messageBytesMax = this.#messageBytesMaxOf(principal);
		this.#client = deps.edge.traffic.isOn ? deps.edge.traffic.clientOf(request) : '';
		this.#openedMs = deps.clock.monotonicMs();
		this.held = principal.kind === 'open' ? null : (deps.caps?.openConnection(holderOf(principal)) ?? null);
		try {
			this.session = deps.relay.attach(this.#sink, this.held);
		} catch (error) {
			this.held?.release();
			throw error;
		}
		const { budgets, payloadDepthMax } = deps;
		this.#incoming = new Incoming(socket, budgets.receptions, this);
		this.#frames = new FrameQueue(this, { ws, budgets, party: this.#party, payloadDepthMax, incoming: this.#incoming });
	}

	/** The topics followed, as they are in the store. */
	get topics(): Iterable<string> {
		return this.session.topics;
	}

	/** Its rights are over. */
	end(error: RelayError): void {
		this.fail(null, error);
	}

	endTopic(topic: string): void {
		this.session.forbid(topic);
	}

	renewed(principal: KnownPrincipal): void {
		this.principal = principal;
		this.messageBytesMax = this.#messageBytesMaxOf(principal);
	}

	recheck(): void {
		const { auth } = this.deps;
		if (auth !== null && isWatched(this)) auth.live.recheck(this);
	}

	replace(principal: KnownPrincipal): void {
		this.renewed(principal);
		const { auth } = this.deps;
		if (auth !== null && isWatched(this)) auth.live.replaced(this);
	}

	close(code: number, reason: string): void {
		this.#ws.close(code, reason);
	}

	onWritable(): void {
		this.#frames.readOn();
	}

	/** Whether the peer reads what it is sent. */
	get writable(): boolean {
		return this.#sink.writable;
	}

	timestamp(): string {
		return new Date(this.deps.clock.nowMs()).toISOString();
	}

	reply(frame: ClientFrame | null, answer: object): void {
		const text = JSON.stringify(answer);
		// Its text, as a number may have more digits than one of JavaScript.
		this.#sink.sendText(frame?.ref === undefined ? text : `${text.slice(0, -1)},"ref":${frame.ref}}`);
		if (this.#flushDue) return;
		this.#flushDue = true;
		this.deps.clock.soon(() => {
			this.#flushDue = false;
			this.#sink.flush();
		});
	}

	fail(frame: ClientFrame | null, thrown: unknown): void {
		const error = RelayError.from(thrown);
		if (error.code === 'internal_error')
			this.deps.logger.error({ err: error.cause, session_id: this.id }, 'a WebSocket command failed');
		this.deps.metrics.errorAnswered('websocket', error.code);
		this.deps.edge.traffic.frameRefused(this.id, this.principal, error, frame?.type ?? null);
		const details = error.problems ?? (error.retryAfterS === undefined ? null : { retry_after: error.retryAfterS });
		this.reply(frame, { type: 'error', code: error.code, message: error.message, details });
		const { closeCode } = ERRORS[error.code];
		if (closeCode === null) return;
		this.#closedFor ??= error.code;
		this.#sink.flush();
		this.#ws.close(closeCode, error.message);
		this.#stop();
	}

	/**
	 * After the close frame of the relay nothing that comes counts, and nothing is delivered: the peer may take its time to close, and the
	 * rights of the connection may be over.
	 */
	#stop(): void {
		this.#frames.end();
		// Its close frame must be read.
		if (this.#ws.isPaused) this.#ws.resume();
		this.#topicsAtEnd ??= [...this.session.topics].length;
		this.session.close();
	}

	publishing(bytes: number): void {
		this.#publishBytes += bytes;
	}

	published(bytes: number): void {
		this.#publishBytes -= bytes;
		this.#frames.readOn();
	}

	beat(): void {
		if (this.#silentBeats >= SILENT_BEATS_MAX) {
			this.#closedFor = 'silence';
			this.#ws.terminate();
			return;
		}
		this.#silentBeats++;
		this.#ws.ping();
	}

	get ready(): boolean {
		return this.#publishBytes < PUBLISH_BYTES_MAX && this.#sink.writable;
	}

	/** Takes a frame of the peer. */
	take(data: Buffer, binary: boolean): void {
		this.#silentBeats = 0;
		this.#framesIn++;
		this.#frames.take(data, binary);
	}

	charge(bytes: number): void {
		const tokens = tokensFor(bytes);
		if (tokens > 0) this.deps.limiting?.take(this.principal, tokens);
	}

	run(frame: ClientFrame): Promise<void> | undefined {
		const command = commands.get(frame.type);
		if (command === undefined) throw new RelayError('unknown_frame', 'unknown frame type');
		if (!FREE_FRAMES.has(frame.type)) this.deps.limiting?.take(this.principal);
		return command(this, frame);
	}

	/** The connection has closed: nothing of what it has sent is of use. */
	closed(code: number, reason: string): void {
		this.#logEnd(code, reason);
		this.#givenUp = true;
		this.#incoming.end();
		this.#frames.end();
		this.session.close();
		this.held?.release();
	}

	#logEnd(code: number, reason: string): void {
		const { traffic } = this.deps.edge;
		if (!traffic.isOn) return;
		traffic.ended({
			transport: 'websocket',
			principal: this.principal,
			client: this.#client,
			durationMs: this.deps.clock.monotonicMs() - this.#openedMs,
			topics: this.#topicsAtEnd ?? [...this.session.topics].length,
			messagesOut: this.#sink.messages,
			socket: this.#sink.socket,
			more: {
				session_id: this.id,
				frames_in: this.#framesIn,
				close_code: code,
				close_reason: printable(reason),
				closed_for: this.#closedFor ?? undefined,
			},
		});
	}

	/** For {@link Incoming}. */
	party(): Party {
		return this.#party;
	}

	/** Only a publish is longer than the frames that name topics. */
	#messageBytesMaxOf(principal: Principal): number {
		return mayPublish(principal) ? this.deps.messageBytesMax : TOPIC_FRAME_BYTES_MAX;
	}

	/** For {@link Incoming}. */
	isHeldUp(): boolean {
		return this.#frames.busy || this.#publishBytes >= PUBLISH_BYTES_MAX;
	}

	/** For {@link Incoming}. */
	onFail(error: RelayError): void {
		this.#giveUp(error);
	}

	/** Ends a connection that sends too much or too slowly. What comes is no longer looked at. */
	#giveUp(error: RelayError): void {
		if (this.#givenUp) return;
		this.#givenUp = true;
		this.#closedFor = error.code;
		this.fail(null, error);
		this.#sink.flush();
		const closeCode = ERRORS[error.code].closeCode ?? (error.code === 'overloaded' ? TRY_AGAIN_LATER : POLICY_VIOLATION);
		this.#ws.close(closeCode, error.message);
		this.#frames.stop();
		this.#incoming.drop();
		this.deps.clock.after(LAST_WORDS_MS, () => this.#ws.terminate());
	}

	read<Result>({ bytes }: ClientFrame, steps: Steps<Result>): Result | Promise<Result> {
		return bytes.byteLength <= STEP_BYTES ? atOnce(steps) : this.deps.budgets.turns.run(this.#party, steps);
	}

	/** Takes a ping or pong of the peer; false when it is one too many, which ends the connection. */
	takeControl(): boolean {
		this.#silentBeats = 0;
		const second = Math.floor(this.deps.clock.monotonicMs() / 1000);
		if (second !== this.#controlSecond) {
			this.#controlSecond = second;
			this.#controlFrames = 0;
		}
		this.#controlFrames++;
		if (this.#controlFrames <= CONTROL_FRAMES_PER_SECOND_MAX) return true;
		if (this.#ws.readyState === this.#ws.OPEN) {
			this.fail(null, new RelayError('frame_flood', `more than ${CONTROL_FRAMES_PER_SECOND_MAX} control frames in a second`));
		}
		return false;
	}
}

/** Whether a connection has rights to watch over: one of a relay that asks nobody for credentials has not. */
export function isWatched(connection: WebSocketConnection): connection is WebSocketConnection & LiveConnection {
	return connection.principal.kind !== 'open';
}
