/**
 * One WebSocket connection: takes frames in order, one command at a time, and stops reading while the peer does not read its
 * answers or too much of it waits for the store, so that a connection holds a bounded amount (I8).
 */

import type { Duplex } from 'node:stream';
import { ERRORS, RelayError } from '@pulsar-relay/protocol/errors';
import type { WebSocket } from 'ws';
import type { LiveConnection } from '../../auth/live-connections.ts';
import { holderOf, type KnownPrincipal, type Principal } from '../../auth/principal.ts';
import type { Held } from '../../limits/account-caps.ts';
import type { Session } from '../../relay/session.ts';
import type { HeartbeatMember } from '../http/heartbeat.ts';
import type { CommandContext, WebSocketDeps } from './command.ts';
import { commands } from './commands.ts';
import { type ClientFrame, readFrame } from './frame.ts';
import { type SinkPeer, WebSocketSink } from './sink.ts';

/** Beats without a sign of life after which a peer is taken for dead. */
const SILENT_BEATS_MAX = 2;
/** Pings and pongs of the peer that one second may bring. */
const CONTROL_FRAMES_PER_SECOND_MAX = 100;
/** Bytes of publishes under way at which a connection stops being read. */
const PUBLISH_BYTES_MAX = 4 * 1024 * 1024;
/** Frames that ask for nothing, and so cost nothing of the rate limit. */
const FREE_FRAMES: ReadonlySet<string> = new Set(['ping', 'ack']);
/** How long a peer may take to answer a close frame. */
export const CLOSE_TIMEOUT_MS = 5000;

export class WebSocketConnection implements HeartbeatMember, CommandContext, SinkPeer {
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
	/** Frames that came while a command was under way or the peer did not read; null for a binary one. */
	#waiting: (Buffer | null)[] = [];
	#busy = false;
	#publishBytes = 0;
	#flushDue = false;
	#silentBeats = 0;
	#controlFrames = 0;
	#controlSecond = 0;

	/** Throws what {@link Relay.attach} throws, and `account_limit`. */
	constructor(deps: WebSocketDeps, ws: WebSocket, socket: Duplex, id: string, principal: Principal) {
		this.id = id;
		this.principal = principal;
		this.deps = deps;
		this.#ws = ws;
		this.#sink = new WebSocketSink(socket, deps.socketBufferBytes, this);
		this.held = principal.kind === 'open' ? null : (deps.caps?.openConnection(holderOf(principal)) ?? null);
		try {
			this.session = deps.relay.attach(this.#sink, this.held);
		} catch (error) {
			this.held?.release();
			throw error;
		}
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
	}

	recheck(): void {
		const { auth } = this.deps;
		if (auth !== null && isWatched(this)) auth.live.recheck(this);
	}

	replace(principal: KnownPrincipal): void {
		this.principal = principal;
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
		this.#sink.send(frame?.ref === undefined ? answer : { ...answer, ref: frame.ref });
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
		const details = error.problems ?? (error.retryAfterS === undefined ? null : { retry_after: error.retryAfterS });
		this.reply(frame, { type: 'error', code: error.code, message: error.message, details });
		const { closeCode } = ERRORS[error.code];
		if (closeCode === null) return;
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
		// A binary frame waits like any other: it is answered, too, and a peer that does not read may send millions of them (I8).
		const frame = binary ? null : data;
		if (this.#waiting.length > 0 || !this.#open) {
			this.#waiting.push(frame);
			this.#ws.pause();
			return;
		}
		this.#run(frame);
	}

	/** Takes up what waited, as far as it goes, and then the socket. */
	#readOn(): void {
		while (this.#waiting.length > 0 && this.#open) this.#run(this.#waiting.shift() as Buffer | null);
		if (this.#waiting.length === 0 && this.#ws.isPaused && this.#open) this.#ws.resume();
	}

	#run(data: Buffer | null): void {
		let frame: ClientFrame | null = null;
		try {
			if (data === null) throw new RelayError('unknown_frame', 'binary frames are not understood');
			frame = readFrame(data, this.deps.payloadDepthMax);
			const command = commands.get(frame.type);
			if (command === undefined) throw new RelayError('unknown_frame', 'unknown frame type');
			if (!FREE_FRAMES.has(frame.type)) this.deps.limiting?.take(this.principal);
			const done = command(this, frame);
			if (done !== undefined) this.#finish(frame, done);
		} catch (error) {
			this.fail(frame, error);
		}
	}

	/** Later frames wait for a command that takes time, so that frames take effect in order. */
	#finish(frame: ClientFrame, done: Promise<void>): void {
		this.#busy = true;
		done
			.catch((error: unknown) => this.fail(frame, error))
			.finally(() => {
				this.#busy = false;
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
