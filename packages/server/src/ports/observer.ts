/** What the relay tells whoever measures it. Called on the hot path, once per batch: implementations only count. */

import type { ErrorCode } from '@pulsar-relay/protocol/errors';
import type { GapReason } from '@pulsar-relay/protocol/frames';
import type { TransportName } from './sink.ts';

export interface Observer {
	/** Messages entered a publish queue. */
	received(messages: number, bytes: number): void;
	/** One append call ended after `durationMs`; `stored` is false when the store refused it. */
	appended(durationMs: number, stored: boolean): void;
	/** One store read ended. */
	read(succeeded: boolean): void;
	/** Messages were written towards subscribers of one transport. */
	delivered(transport: TransportName, messages: number): void;
	/** Time from append to the write towards live subscribers, once per topic and tick. */
	deliveryDelay(delayMs: number): void;
	/** A subscriber was told of a hole. */
	gap(reason: GapReason): void;
	/** Subscriptions (+1, -1) that are behind the tip because of their socket or of a resume. */
	behind(change: number): void;
	/** The clock is `aheadMs` ahead of the time that was expected; if that lasts for `graceMs`, it is believed. */
	clockDoubted(aheadMs: number, graceMs: number): void;
	/** The clock is believed again: it was set right, or the grace is over. */
	clockBelieved(): void;
	/** A background step (trim, forget) failed; the next one tries again. */
	housekeepingFailed(error: unknown): void;
}

/** What the transports tell whoever measures them. */
export interface ConnectionMetrics {
	connectionOpened(transport: TransportName): void;
	connectionClosed(transport: TransportName): void;
	/** A connection was cut off without an answer: there were too many. */
	connectionDropped(): void;
	/** A failure was answered on one of the wires (`http` for plain requests). */
	errorAnswered(type: TransportName | 'http', code: ErrorCode): void;
}
