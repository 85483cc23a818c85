/**
 * One connection to Valkey, with a watchdog.
 *
 * Why a watchdog: a peer that is gone without a FIN, a frozen server and a load balancer that swallows packets all look like silence,
 * and the library keeps such a connection for minutes. A beat that is not answered takes the connection down within 2 s; two of them
 * in a row replace it. And a connection that was replaced, here or inside the library, has missed announcements: its beat
 * carries an identity (server run and connection id), and whoever listens is told when it changes (I10).
 *
 * No command is ever sent twice: the library rejects what was in flight when a connection breaks (retries of batches are off, its
 * default), and so does this file.
 */

import { isUnknownScript, NO_ANSWER, reasonOf, unavailable } from './failure.ts';
import {
	type Client,
	type ClientOptions,
	type Command,
	closeSoon,
	connect,
	everywhere,
	identify,
	isCluster,
	type Reply,
	runOn,
	silenceLibrary,
	subscribeOn,
} from './glide.ts';
import { type KeySpace, keySpace } from './keys.ts';
import { type Script, SOURCES } from './scripts.ts';

export interface ConnectionOptions extends ClientOptions {
	/** Called when `state` has changed, and when the connection is another one than before: announcements may have been missed. */
	readonly onState: (change: 'up' | 'down' | 'replaced') => void;
}

/**
 * - `up`: the last beat was answered. Leaves to `down` when one is not.
 * - `down`: calls are refused at once, beats go on; from the second one missed, the connection is made anew. Leaves to `up`.
 * - `closed`: final.
 */
export type ConnectionState =
	| { readonly status: 'up' }
	| { readonly status: 'down'; readonly reason: string }
	| { readonly status: 'closed' };

const BEAT_INTERVAL_MS = 500;
const BEAT_TIMEOUT_MS = 1500;
/** After a beat that was missed. */
const RETRY_INTERVAL_MS = 250;
/** Beats missed in a row before the connection is given up. */
const MISSED_BEATS_MAX = 2;
/** Channels that are remembered as unsubscribed; by the time there are more, the first are long done with. */
const LEFT_CHANNELS_MAX = 10_000;

export class Connection {
	/** Names of the keys and channels that are used over it. */
	readonly keys: KeySpace;
	readonly #options: ConnectionOptions;
	#client: Client | null;
	#state: ConnectionState = { status: 'up' };
	#identity: string;
	/** Beats begun: the answer of one that is not the last any more does not count. */
	#beats = 0;
	#missedBeats = 0;
	#cancelTimer = () => {};
	/** Channels that ought to be subscribed, whatever connection there is. */
	readonly #channels = new Set<string>();
	/** Channels that were unsubscribed, and may not yet be so at the server. */
	readonly #left = new Set<string>();

	private constructor(options: ConnectionOptions, client: Client, identity: string) {
		this.keys = keySpace(options.keyPrefix);
		this.#options = options;
		this.#client = client;
		this.#identity = identity;
		this.#beatLater(BEAT_INTERVAL_MS);
	}

	/** Connects. Rejects with what the library says when the server cannot be reached or refuses. */
	static async open(options: ConnectionOptions): Promise<Connection> {
		silenceLibrary();
		const client = await connect(options);
		try {
			return new Connection(options, client, await identify(client));
		} catch (error) {
			closeSoon(client);
			throw error;
		}
	}

	get state(): ConnectionState {
		return this.#state;
	}

	/**
	 * Runs commands in order, in one write; each has its reply or its Error. Rejects when none was run, or nothing is known of them. That
	 * takes the connection down at once: what waits for the same server need not wait as long again.
	 */
	async run(commands: readonly Command[]): Promise<readonly Reply[]> {
		const client = this.#usable();
		if (commands.length === 0) return [];
		try {
			return await runOn(client, commands, this.#options.requestTimeoutMs);
		} catch (error) {
			if (this.#client === client) this.#suspect(error);
			throw unavailable(reasonOf(error), error);
		}
	}

	/** Runs a command on every primary; one reply of a server that is alone. */
	async runEverywhere(command: Command): Promise<readonly Reply[]> {
		return everywhere(this.#usable(), command);
	}

	/**
	 * Runs scripts in order, in one write, and those that a server does not know once more with their source. `then` are commands that
	 * follow the scripts in the same write, also in the second; their replies come after those of the scripts.
	 */
	async evaluate(calls: readonly ScriptCall[], then: readonly Command[] = []): Promise<readonly Reply[]> {
		const replies = await this.run([...calls.map(toCommand), ...then]);
		if (!replies.some(isUnknownScript)) return replies;
		const unknown = calls.filter((_, i) => isUnknownScript(replies[i]));
		const again = (await this.run([...unknown.map(toSourceCommand), ...then])).values();
		const scripts = replies.slice(0, calls.length);
		return [...scripts.map((reply) => (isUnknownScript(reply) ? (again.next().value ?? null) : reply)), ...again];
	}

	/** Subscribes; resolves when the server has confirmed, so that nothing published from then on is missed. */
	async subscribe(channels: readonly string[]): Promise<void> {
		for (const channel of channels) this.#channels.add(channel);
		const client = this.#usable();
		const { requestTimeoutMs } = this.#options;
		// The library would take a subscription that it is still about to end for the one that is asked for.
		const left = channels.filter((channel) => this.#left.delete(channel));
		if (left.length > 0)
			await (isCluster(client) ? client.sunsubscribe(left, requestTimeoutMs) : client.unsubscribe(left, requestTimeoutMs));
		await subscribeOn(client, channels, requestTimeoutMs);
	}

	/** Unsubscribes, in its own time. */
	unsubscribe(channels: readonly string[]): void {
		if (this.#left.size > LEFT_CHANNELS_MAX) this.#left.clear();
		for (const channel of channels) {
			this.#channels.delete(channel);
			this.#left.add(channel);
		}
		const client = this.#client;
		if (client === null || channels.length === 0) return;
		const done = isCluster(client) ? client.sunsubscribeLazy(channels) : client.unsubscribeLazy(channels);
		// What stays subscribed by mistake only costs a few bytes: nobody follows what it announces.
		done.catch(ignoreFailure);
	}

	/** Gives the connection up. Idempotent. */
	close(): void {
		this.#cancelTimer();
		if (this.#client !== null) closeSoon(this.#client);
		this.#client = null;
		this.#state = { status: 'closed' };
	}

	#usable(): Client {
		if (this.#client !== null && this.#state.status === 'up') return this.#client;
		throw unavailable(this.#state.status === 'down' ? this.#state.reason : 'the store is closed');
	}

	#suspect(error: unknown): void {
		this.#cancelTimer();
		this.#went(reasonOf(error));
		void this.#beat();
	}

	/** The next beat is due only once this one has ended, so that there is one at a time. */
	#beatLater(delayMs: number): void {
		this.#cancelTimer = this.#options.clock.after(delayMs, () => {
			void this.#beat();
		});
	}

	/** Never rejects: how it went is the connection's state. */
	async #beat(): Promise<void> {
		const beat = ++this.#beats;
		try {
			const client = this.#client ?? (await this.#reconnect());
			const identity = await this.#inTime(identify(client));
			if (beat !== this.#beats || this.#client !== client) return;
			this.#missedBeats = 0;
			this.#came(identity);
			this.#beatLater(BEAT_INTERVAL_MS);
		} catch (error) {
			if (beat !== this.#beats || this.#state.status === 'closed') return;
			this.#missedBeats++;
			if (this.#client !== null && this.#missedBeats >= MISSED_BEATS_MAX) {
				closeSoon(this.#client);
				this.#client = null;
			}
			this.#went(reasonOf(error));
			this.#beatLater(RETRY_INTERVAL_MS);
		}
	}

	/** A beat has a limit of its own: calls may be allowed to take longer. By real time, which the server's is, too. */
	async #inTime<Result>(answer: Promise<Result>): Promise<Result> {
		let timer: NodeJS.Timeout | undefined;
		const late = new Promise<never>((_, reject) => {
			timer = setTimeout(() => reject(unavailable(NO_ANSWER)), BEAT_TIMEOUT_MS).unref();
		});
		// Whichever comes second has nobody waiting for it.
		answer.catch(ignoreFailure);
		return await Promise.race([answer, late]).finally(() => clearTimeout(timer));
	}

	async #reconnect(): Promise<Client> {
		const client = await connect(this.#options);
		try {
			await subscribeOn(client, [...this.#channels], this.#options.requestTimeoutMs);
		} catch (error) {
			closeSoon(client);
			throw error;
		}
		if (this.#state.status === 'closed') {
			closeSoon(client);
			throw unavailable('the store is closed');
		}
		this.#client = client;
		return client;
	}

	#came(identity: string): void {
		const replaced = identity !== this.#identity;
		const wasDown = this.#state.status === 'down';
		this.#identity = identity;
		this.#state = { status: 'up' };
		if (wasDown) this.#options.onState('up');
		if (replaced) this.#options.onState('replaced');
	}

	#went(reason: string): void {
		const wasUp = this.#state.status === 'up';
		this.#state = { status: 'down', reason };
		if (wasUp) this.#options.onState('down');
	}
}

/** A script with its keys and arguments. */
export interface ScriptCall {
	readonly script: Script;
	readonly keys: readonly string[];
	readonly args: Command;
}

function toCommand({ script, keys, args }: ScriptCall): Command {
	return ['EVALSHA', script.sha, String(keys.length), ...keys, ...args];
}

function toSourceCommand({ script, keys, args }: ScriptCall): Command {
	return ['EVAL', SOURCES.get(script.sha) ?? script.source, String(keys.length), ...keys, ...args];
}

/** For a promise whose failure changes nothing. */
function ignoreFailure(): void {}
