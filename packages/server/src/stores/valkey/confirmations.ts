/**
 * Confirming what was appended and is not readable yet because the replicas may not have it: with the append, by the node that made it; and
 * for a node that died between the two, by whichever finds the topic so (I10). Anybody may: replicas take writes in the order in which
 * the primary made them, so that those that have a later write have the message, too.
 */

import { formatMessageId, type MessageId } from '@pulsar-relay/protocol/message-id';
import type { Clock } from '../../ports/clock.ts';
import type { Connection, ScriptCall } from './connection.ts';
import { type KeySpace, publishCommand } from './keys.ts';
import { evaluateReplicated } from './replicas.ts';
import { SCRIPTS } from './scripts.ts';

/** How long the node that appended has to do so itself. */
const CONFIRM_AFTER_MS = 1000;
/** Topics that wait; those beyond are found again. */
const TOPICS_MAX = 10_000;

export function confirmCall(
	keys: KeySpace,
	topic: string,
	id: MessageId,
	publish: string,
	announcements: readonly Buffer[],
): ScriptCall {
	const { stream, meta, channel } = keys.topic(topic);
	return { script: SCRIPTS.confirm, keys: [stream, meta], args: [formatMessageId(id), publish, channel, ...announcements] };
}

export interface ConfirmationsOptions {
	readonly clock: Clock;
	readonly cluster: boolean;
	/** Replicas to wait for. */
	readonly replicas: number;
	/** Runs something in its turn among the store's writes. */
	readonly inTurn: (run: (connection: Connection) => Promise<void>) => Promise<void>;
	/** Looks at topics that have more to read now. */
	readonly look: (topics: readonly string[]) => Promise<boolean>;
}

export class Confirmations {
	readonly #options: ConfirmationsOptions;
	/** The end of a topic when it was first found not to be confirmed. */
	readonly #waiting = new Map<string, MessageId>();
	/** Null while nothing waits. */
	#cancel: (() => void) | null = null;

	constructor(options: ConfirmationsOptions) {
		this.#options = options;
	}

	/** A topic was found to end with messages that are not confirmed; null = with none. */
	note(topic: string, unconfirmed: MessageId | null): void {
		if (unconfirmed === null) {
			this.#waiting.delete(topic);
			return;
		}
		if (this.#waiting.has(topic) || this.#waiting.size >= TOPICS_MAX) return;
		this.#waiting.set(topic, unconfirmed);
		this.#cancel ??= this.#options.clock.after(CONFIRM_AFTER_MS, () => void this.#confirm());
	}

	stop(): void {
		this.#cancel?.();
	}

	/** Never rejects: what could not be confirmed is found again. */
	async #confirm(): Promise<void> {
		const { cluster, replicas, inTurn, look } = this.#options;
		const topics = [...this.#waiting];
		this.#waiting.clear();
		this.#cancel = null;
		if (topics.length === 0) return;
		try {
			await inTurn(async (connection) => {
				await evaluateReplicated(connection, [], replicas);
				const publish = publishCommand(cluster);
				await connection.evaluate(topics.map(([topic, id]) => confirmCall(connection.keys, topic, id, publish, [])));
			});
			await look(topics.map(([topic]) => topic));
		} catch {
			// The replicas are away, or the server is: both show elsewhere.
		}
	}
}
