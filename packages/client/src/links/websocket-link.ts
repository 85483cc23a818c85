/** WebSocket: one connection, all topics (PROTOCOL.md, "WebSocket"). */

import { type Gap, RelayError } from '../errors.ts';
import type { Link, LinkEnd, LinkOptions, Position } from './link.ts';

/** Topics in one `subscribe` frame. */
const TOPICS_PER_FRAME_MAX = 1000;
const MESSAGE_HEAD = '{"type":"message"';
const CLOSE_DRAINED = 1012;
const CLOSE_CREDENTIALS_EXPIRED = 4401;
const CLOSE_ACCESS_REVOKED = 4403;
/** Without a number in the reason of a 1012. */
const DRAINED_RETRY_MS = 1000;

export interface WebSocketLinkOptions extends LinkOptions {
	/** `ws://` or `wss://`, with the path. */
	readonly url: string;
	readonly token: string | null;
	/** Why a connection was refused before it was open, which a browser does not tell. */
	readonly whyRefused: () => Promise<LinkEnd>;
}

interface ServerFrame {
	readonly type: string;
	readonly ref?: number;
	readonly topics?: readonly string[];
	readonly cursors?: Readonly<Record<string, string>>;
	readonly code?: string;
	readonly message?: string;
	readonly details?: { readonly topic?: string; readonly retry_after?: number } | null;
}

/** Opens a connection. */
export class WebSocketLink implements Link {
	readonly kind = 'ws';
	readonly #options: WebSocketLinkOptions;
	readonly #socket: WebSocket;
	/** Topics to follow once the connection is open. */
	#wanted = new Set<string>();
	/** The number of the `subscribe` frame by which a topic is followed: answers to earlier ones, and what came by them, do not count. */
	readonly #asked = new Map<string, number>();
	readonly #following = new Set<string>();
	readonly #frames = new Map<number, readonly string[]>();
	#ref = 0;
	#opened = false;
	#over = false;

	constructor(options: WebSocketLinkOptions) {
		this.#options = options;
		const { url, token } = options;
		this.#socket = new WebSocket(url, token === null ? [] : ['bearer', `bearer.${token}`]);
		this.#socket.onopen = () => this.#onOpen();
		this.#socket.onmessage = ({ data }) => this.#onFrame(data);
		this.#socket.onclose = ({ code, reason }) => this.#onClose(code, reason);
		// Its close follows, and says as much as a browser lets one know.
		this.#socket.onerror = () => {};
	}

	follow(topics: readonly string[]): void {
		for (const topic of topics) {
			this.#wanted.add(topic);
			this.#following.delete(topic);
		}
		if (this.#opened) this.#subscribe();
	}

	unfollow(topics: readonly string[]): void {
		const asked = topics.filter((topic) => this.#asked.delete(topic));
		for (const topic of topics) {
			this.#wanted.delete(topic);
			this.#following.delete(topic);
		}
		if (asked.length > 0) this.#send({ type: 'unsubscribe', topics: asked });
	}

	probe(): void {
		if (this.#opened) this.#send({ type: 'ping' });
	}

	refresh(token: string): void {
		if (this.#opened) this.#send({ type: 'refresh', token });
	}

	close(): void {
		this.#over = true;
		this.#socket.close(1000);
	}

	#onOpen(): void {
		if (this.#over) return;
		this.#opened = true;
		this.#options.events.alive();
		this.#subscribe();
	}

	/** Asks for what is wanted and not asked for, in as few frames as there are ways to begin. */
	#subscribe(): void {
		const byOffset = new Map<Position, string[]>();
		const since: Record<string, string> = {};
		for (const topic of this.#wanted) {
			const position = this.#options.positionOf(topic);
			const offset = position === 'earliest' ? 'earliest' : 'last';
			if (position !== 'earliest' && position !== 'last') since[topic] = position;
			const topics = byOffset.get(offset) ?? [];
			topics.push(topic);
			byOffset.set(offset, topics);
		}
		this.#wanted = new Set();
		for (const [offset, topics] of byOffset) {
			for (let at = 0; at < topics.length; at += TOPICS_PER_FRAME_MAX) {
				this.#subscribeTo(topics.slice(at, at + TOPICS_PER_FRAME_MAX), offset, since);
			}
		}
	}

	#subscribeTo(topics: readonly string[], offset: Position, since: Readonly<Record<string, string>>): void {
		const ref = ++this.#ref;
		for (const topic of topics) this.#asked.set(topic, ref);
		this.#frames.set(ref, topics);
		const theirs = Object.fromEntries(topics.flatMap((topic) => (Object.hasOwn(since, topic) ? [[topic, since[topic]]] : [])));
		this.#send({ type: 'subscribe', ref, topics, offset, since: theirs });
	}

	#send(frame: object): void {
		if (this.#socket.readyState === WebSocket.OPEN) this.#socket.send(JSON.stringify(frame));
	}

	#onFrame(data: unknown): void {
		if (this.#over || typeof data !== 'string') return;
		const { events } = this.#options;
		events.alive();
		if (data.startsWith(MESSAGE_HEAD)) {
			const topic = /"topic":"([^"]*)"/.exec(data.slice(0, 1024))?.[1];
			if (topic !== undefined && this.#following.has(topic)) events.message(data);
			return;
		}
		const frame = parse(data);
		if (frame === null) {
			this.#end({ kind: 'lost', error: new RelayError('not_a_relay', `${this.#options.url} sends frames that no relay sends`) });
		} else if (frame.type === 'subscribed') this.#onSubscribed(frame);
		else if (frame.type === 'gap') this.#onGap(frame as unknown as Gap);
		else if (frame.type === 'error') this.#onError(frame);
	}

	#onSubscribed({ ref = 0, cursors = {} }: ServerFrame): void {
		const topics = this.#take(ref);
		for (const topic of topics) this.#following.add(topic);
		this.#options.events.following(new Map(topics.map((topic) => [topic, cursors[topic] ?? '0-0'])));
	}

	/** The topics of a `subscribe` frame that are still followed by it. */
	#take(ref: number): readonly string[] {
		const topics = this.#frames.get(ref) ?? [];
		this.#frames.delete(ref);
		return topics.filter((topic) => this.#asked.get(topic) === ref);
	}

	#onGap({ topic, reason, from, to }: Gap): void {
		if (this.#following.has(topic)) this.#options.events.gap({ topic, reason, from, to });
	}

	#onError({ ref, code = 'internal_error', message = '', details }: ServerFrame): void {
		const retryAfterS = details?.retry_after;
		const error = new RelayError(code, message, retryAfterS === undefined ? {} : { retryAfterMs: retryAfterS * 1000 });
		const topic = details?.topic;
		if (topic !== undefined) {
			this.#following.delete(topic);
			if (this.#asked.delete(topic)) this.#options.events.topicEnded(topic, error);
			return;
		}
		if (ref === undefined || !this.#frames.has(ref)) return;
		const topics = this.#take(ref);
		if (retryAfterS !== undefined) this.#end({ kind: 'refused', error });
		else if (topics.length > 1) for (const one of topics) this.#subscribeAlone(one);
		else for (const one of topics) this.#options.events.topicEnded(one, error);
	}

	/** One bad name refuses the whole frame: which one it is shows when each is asked for alone. */
	#subscribeAlone(topic: string): void {
		const position = this.#options.positionOf(topic);
		const isId = position !== 'last' && position !== 'earliest';
		this.#subscribeTo([topic], isId ? 'last' : position, isId ? { [topic]: position } : {});
	}

	#onClose(code: number, reason: string): void {
		if (this.#over) return;
		if (!this.#opened) {
			this.#over = true;
			void this.#options.whyRefused().then((end) => this.#options.events.ended(end));
			return;
		}
		this.#end(endOf(code, reason, this.#options.url));
	}

	#end(end: LinkEnd): void {
		this.#over = true;
		this.#socket.close();
		this.#options.events.ended(end);
	}
}

function parse(data: string): ServerFrame | null {
	try {
		const frame = JSON.parse(data) as ServerFrame | null;
		return typeof frame?.type === 'string' ? frame : null;
	} catch {
		// No JSON at all: the caller says so.
		return null;
	}
}

function endOf(code: number, reason: string, url: string): LinkEnd {
	switch (code) {
		case CLOSE_DRAINED:
			return { kind: 'drained', retryAfterMs: Number(/\d+/.exec(reason)?.[0] ?? DRAINED_RETRY_MS) };
		case CLOSE_CREDENTIALS_EXPIRED:
			return { kind: 'refused', error: new RelayError('credentials_expired', reason, { status: 401 }) };
		case CLOSE_ACCESS_REVOKED:
			return { kind: 'refused', error: new RelayError('access_revoked', reason, { status: 403 }) };
		default:
			return { kind: 'lost', error: new RelayError('unreachable', `the connection to ${url} broke (${code} ${reason})`) };
	}
}
