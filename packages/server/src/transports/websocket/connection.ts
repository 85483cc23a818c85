/**
 * One WebSocket connection: takes frames in order, one command at a time, and stops reading while the peer does not read its
 * answers or too much of it waits for the store, so that a connection holds a bounded amount (I8).
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
import type { Reception } from '../../limits/receptions.ts';
import { atOnce, LOOK_COST_BYTES, STEP_BYTES, type Steps } from '../../limits/turns.ts';
import { printable } from '../../ops/printable.ts';
import type { Session } from '../../relay/session.ts';
import type { HeartbeatMember } from '../http/heartbeat.ts';
import type { CommandContext, WebSocketDeps } from './command.ts';
import { commands } from './commands.ts';
import { type ClientFrame, parseFrame, readFrame, TOPIC_FRAME_BYTES_MAX } from './frame.ts';
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
/** What a socket is read in at most. */
const CHUNK_BYTES_MAX = 64 * 1024;
/** How long a peer may take to answer a close frame. */
export const CLOSE_TIMEOUT_MS = 5000;

/** What a connection is opened with. */
export interface Accepted {
	readonly socket: Duplex;
	readonly request: IncomingMessage;
	readonly principal: Principal;
}

/** A frame that has come. */
interface Arrived {
	/** Null for a binary one. */
	readonly data: Buffer | null;
	/** What it holds of the budgets; null when it came in one piece. */
	readonly reception: Reception | null;
}

export class WebSocketConnection implements HeartbeatMember, CommandContext, SinkPeer, MessageReceiver {
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
	/** Frames that came while a command was under way or the peer did not read. */
	readonly #waiting: Arrived[] = [];
	/** For {@link Incoming}: the largest message that may come now. */
	messageBytesMax: number;
	readonly #party: Party;
	readonly #incoming: Incoming;
	/** For frames that wait and came in one piece: the chunk that they are in. */
	#pinned: Reception | null = null;
	#turnAsked = false;
	#givenUp = false;
	#busy = false;
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
		this.#incoming = new Incoming(socket, deps.budgets.receptions, this);
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
		this.#readOn();
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
		this.#closedFor = error.code;
		this.#sink.flush();
		this.#ws.close(closeCode, error.message);
	}

	publishing(bytes: number): void {
		this.#publishBytes += bytes;
	}

	published(bytes: number): void {
		this.#publishBytes -= bytes;
		this.#readOn();
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

	get #open(): boolean {
		return !this.#busy && this.#publishBytes < PUBLISH_BYTES_MAX && this.#sink.writable;
	}

	/** Takes a frame of the peer. */
	take(data: Buffer, binary: boolean): void {
		this.#silentBeats = 0;
		const reception = this.#incoming.next();
		if (this.#givenUp) {
			reception?.end();
			return;
		}
		// A binary frame waits like any other: it is answered, too, and a peer that does not read may send millions of them (I8).
		const frame: Arrived = { data: binary ? null : data, reception };
		const first = this.#waiting.length === 0 && this.#open;
		if (first && this.deps.budgets.turns.admits(data.byteLength)) {
			this.#run(frame);
			return;
		}
		this.#waiting.push(frame);
		this.#ws.pause();
		if (reception === null) this.#pinned ??= this.#incoming.hold(CHUNK_BYTES_MAX);
		if (first) this.#askForTurn();
	}

	/** The connection has closed: nothing of what it has sent is of use. */
	closed(code: number, reason: string): void {
		this.#logEnd(code, reason);
		this.#givenUp = true;
		this.#incoming.end();
		this.#pinned?.end();
		for (const { reception } of this.#waiting.splice(0)) reception?.end();
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
			topics: [...this.session.topics].length,
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
		return this.#busy || this.#publishBytes >= PUBLISH_BYTES_MAX;
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
		this.#incoming.drop();
		this.deps.clock.after(LAST_WORDS_MS, () => this.#ws.terminate());
	}

	/** Takes up what waited in a later turn of the event loop, when it is this party's. */
	#askForTurn(): void {
		if (this.#turnAsked) return;
		this.#turnAsked = true;
		this.deps.budgets.turns
			.later(this.#party, () => {
				this.#turnAsked = false;
				this.#readOn();
			})
			.catch((error: unknown) => this.fail(null, error));
	}

	/** Takes up what waited, as far as it goes in one step, and then the socket. */
	#readOn(): void {
		let bytes = 0;
		while (this.#waiting.length > 0 && this.#open && !this.#givenUp) {
			if (bytes >= STEP_BYTES) {
				this.#askForTurn();
				return;
			}
			const frame = this.#waiting.shift() as Arrived;
			bytes += Math.max(LOOK_COST_BYTES, frame.data?.byteLength ?? 0);
			this.#run(frame);
		}
		if (this.#waiting.length > 0) return;
		this.#pinned?.end();
		this.#pinned = null;
		if (this.#ws.isPaused && this.#open) this.#ws.resume();
	}

	read<Result>({ bytes }: ClientFrame, steps: Steps<Result>): Result | Promise<Result> {
		return bytes.byteLength <= STEP_BYTES ? atOnce(steps) : this.deps.budgets.turns.run(this.#party, steps);
	}

	#run(arrived: Arrived): void {
		const { data } = arrived;
		try {
			if (data === null) throw new RelayError('unknown_frame', 'binary frames are not understood');
			const tokens = tokensFor(data.byteLength);
			if (tokens > 0) this.deps.limiting?.take(this.principal, tokens);
			const { payloadDepthMax, budgets } = this.deps;
			if (data.byteLength <= STEP_BYTES) this.#command(parseFrame(data, payloadDepthMax), arrived);
			else this.#readLater(budgets.turns.run(this.#party, readFrame(data, payloadDepthMax)), arrived);
		} catch (error) {
			this.fail(null, error);
			arrived.reception?.end();
		}
	}

	#readLater(reading: Promise<ClientFrame>, arrived: Arrived): void {
		this.#busy = true;
		reading
			.then(
				(frame) => {
					this.#busy = false;
					if (!this.#givenUp) this.#command(frame, arrived);
				},
				(error: unknown) => {
					this.#busy = false;
					this.fail(null, error);
					arrived.reception?.end();
				},
			)
			.finally(() => this.#readOn());
	}

	#command(frame: ClientFrame, { reception }: Arrived): void {
		try {
			const command = commands.get(frame.type);
			if (command === undefined) throw new RelayError('unknown_frame', 'unknown frame type');
			if (!FREE_FRAMES.has(frame.type)) this.deps.limiting?.take(this.principal);
			const done = command(this, frame);
			if (done === undefined) reception?.end();
			else this.#finish(frame, done, reception);
		} catch (error) {
			this.fail(frame, error);
			reception?.end();
		}
	}

	/** Later frames wait for a command that takes time, so that frames take effect in order. */
	#finish(frame: ClientFrame, done: Promise<void>, reception: Reception | null): void {
		this.#busy = true;
		done
			.catch((error: unknown) => this.fail(frame, error))
			.finally(() => {
				this.#busy = false;
				reception?.end();
				this.#readOn();
			});
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
