/** An observer that adds up what it is told. */

import type { Observer } from '../../../../src/ports/observer.ts';
import type { TransportName } from '../../../../src/ports/sink.ts';

export interface Counts extends Observer {
	readonly counts: {
		received: number;
		receivedBytes: number;
		appends: number;
		appendsFailed: number;
		reads: number;
		readsFailed: number;
		readonly delivered: Record<TransportName, number>;
		gaps: string[];
		behind: number;
		housekeepingFailures: unknown[];
		/** What was told of the clock: by how much it is ahead; 0 = it is believed. */
		clock: number[];
	};
}

export function createCountingObserver(): Counts {
	const counts: Counts['counts'] = {
		received: 0,
		receivedBytes: 0,
		appends: 0,
		appendsFailed: 0,
		reads: 0,
		readsFailed: 0,
		delivered: { websocket: 0, sse: 0, longpoll: 0 },
		gaps: [],
		behind: 0,
		housekeepingFailures: [],
		clock: [],
	};
	return {
		counts,
		received(messages, bytes) {
			counts.received += messages;
			counts.receivedBytes += bytes;
		},
		appended(_durationMs, stored) {
			counts.appends++;
			if (!stored) counts.appendsFailed++;
		},
		read(succeeded) {
			counts.reads++;
			if (!succeeded) counts.readsFailed++;
		},
		delivered(transport, messages) {
			counts.delivered[transport] += messages;
		},
		deliveryDelay() {},
		gap(reason) {
			counts.gaps.push(reason);
		},
		behind(change) {
			counts.behind += change;
		},
		clockDoubted(aheadMs) {
			counts.clock.push(aheadMs);
		},
		clockBelieved() {
			counts.clock.push(0);
		},
		housekeepingFailed(error) {
			counts.housekeepingFailures.push(error);
		},
	};
}
