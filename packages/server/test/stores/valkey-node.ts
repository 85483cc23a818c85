/** A node without transports: a store on a real server, a hub over it, and subscribers whose sinks keep what they were told. */

import type { TestContext } from 'node:test';
import { formatMessageId } from '@pulsar-relay/protocol/message-id';
import { systemClock } from '../../src/ops/clock.ts';
import type { LogListener, Store } from '../../src/ports/store.ts';
import { Hub } from '../../src/relay/hub.ts';
import { Session } from '../../src/relay/session.ts';
import type { Start } from '../../src/relay/start.ts';
import type { ServerOptions } from '../../src/stores/valkey/glide.ts';
import { untilAnswer } from '../support/valkey.ts';
import { createCountingObserver } from '../unit/relay/support/counting-observer.ts';
import { RecordingSink } from '../unit/relay/support/recording-sink.ts';
import type { Heard } from './trial.ts';
import { type OpenedStore, openStore } from './valkey-fixture.ts';

export interface Node extends OpenedStore {
	readonly hub: Hub;
	/** What the store has announced, oldest first. */
	readonly heard: readonly Heard[];
	/** Follows a topic. */
	subscribe(topic: string, start?: Start): Promise<RecordingSink>;
}

export async function openNode(t: TestContext, server: ServerOptions, more: Parameters<typeof openStore>[2] = {}): Promise<Node> {
	const opened = await openStore(t, server, more);
	const { store } = opened;
	const observer = createCountingObserver();
	const hotTier = { retentionMs: 60_000, bytesMax: 64 * 1024 * 1024, messagesPerTopicMax: 100_000 };
	const hub = new Hub({ store, clock: systemClock, observer, hotTier });
	t.after(() => hub.close());
	const heard: Heard[] = [];
	store.listen(hearing(hub, heard));
	return {
		...opened,
		hub,
		heard,
		async subscribe(topic, start = 'last') {
			const sink = new RecordingSink();
			const session = new Session({ hub, clock: systemClock, observer, subscriptionsMax: 100, onClose: () => {} }, sink);
			t.after(() => session.close());
			await session.subscribe(new Map([[topic, start]]), () => {});
			return sink;
		},
	};
}

function hearing(hub: Hub, heard: Heard[]): LogListener {
	return {
		appended(topic, previous, floor, block) {
			heard.push({ kind: 'appended', topic, previous, floor, block });
			hub.appended(topic, previous, floor, block);
		},
		trimmed(topic, floor) {
			heard.push({ kind: 'trimmed', topic, floor });
			hub.trimmed(topic, floor);
		},
		deleted(topic, tip) {
			heard.push({ kind: 'deleted', topic, tip });
			hub.deleted(topic, tip);
		},
		repositioned(topic, position) {
			heard.push({ kind: 'repositioned', topic, position });
			hub.repositioned(topic, position);
		},
	};
}

/** Resolves once something holds that no event tells of. */
export function until(holds: () => boolean | Promise<boolean>, what: string): Promise<void> {
	return untilAnswer(async () => holds(), what);
}

/** The payloads that a subscriber got, as JSON texts, and the gaps between them as `gap <reason>`. */
export function toldTo(sink: RecordingSink): string[] {
	return sink.told.map((told) => {
		if (told.kind === 'message') return /"payload":(.*),"metadata":/s.exec(told.json)?.[1] ?? told.json;
		if (told.kind === 'gap') return `gap ${told.gap.reason}`;
		return told.kind;
	});
}

/** Ids of a topic's messages in the log, oldest first. */
export async function idsInLog(store: Store, topic: string): Promise<string[]> {
	const { blocks } = await store.read(topic, { ms: 0, n: 0 }, { messagesMax: 1_000_000, bytesMax: 1024 ** 3 });
	return blocks.flatMap(({ ms, n, count }) => Array.from({ length: count }, (_, i) => formatMessageId({ ms, n: n + i })));
}
