/** What the reading transports share about rights: starts under the names of the store, and connections that are watched. */

import type { RelayError } from '@pulsar-relay/protocol/errors';
import type { Auth } from '../../auth/auth.ts';
import type { LiveConnection } from '../../auth/live-connections.ts';
import type { KnownPrincipal, Principal } from '../../auth/principal.ts';
import type { TopicRights } from '../../auth/topic-access.ts';
import type { ShownNames, Start } from '../../relay/start.ts';

/** Starts by the names in the store, and the names that the reader gave. */
export interface AllowedStarts {
	readonly starts: ReadonlyMap<string, Start>;
	readonly shownAs: ShownNames;
}

/** The starts of a reader who may follow all the topics. Rejects with `forbidden` when there is one that it may not. */
export async function allowStarts(
	rights: TopicRights,
	principal: Principal,
	wanted: ReadonlyMap<string, Start>,
): Promise<AllowedStarts> {
	if (!rights.owners) return { starts: wanted, shownAs: new Map() };
	const references = await rights.allowAll(principal, 'subscribe', wanted.keys());
	return {
		starts: new Map(references.map(({ topic, shown }) => [topic, wanted.get(shown) ?? 'last'])),
		shownAs: new Map(references.map(({ topic, shown }) => [topic, shown])),
	};
}

/** How a request that takes its time is ended when its rights do. */
export interface RightsWatch {
	/** The topics that are followed, as they are in the store. */
	topics(): Iterable<string>;
	end(error: RelayError): void;
	endTopic(topic: string): void;
	/** For what asks by itself what it may do: the rights as they are now. */
	renewed?(principal: KnownPrincipal): void;
}

/** Watches over a request that waits. Returns what ends that; without `auth` there is nothing to watch. */
export function watchRights(auth: Auth | null, principal: Principal, watch: RightsWatch): () => void {
	if (auth === null || principal.kind === 'open') return () => {};
	let current = principal;
	const connection: LiveConnection = {
		get principal() {
			return current;
		},
		get topics() {
			return watch.topics();
		},
		end: (error) => watch.end(error),
		endTopic: (topic) => watch.endTopic(topic),
		renewed: (renewed) => {
			current = renewed;
			watch.renewed?.(renewed);
		},
	};
	auth.live.add(connection);
	return () => auth.live.remove(connection);
}
