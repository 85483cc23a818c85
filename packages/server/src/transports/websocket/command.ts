/** What a command works with: its connection, seen from the inside. */

import type { Auth } from '../../auth/auth.ts';
import type { KnownPrincipal, Principal } from '../../auth/principal.ts';
import type { TopicRights } from '../../auth/topic-access.ts';
import type { AccountCaps } from '../../limits/account-caps.ts';
import type { Budgets } from '../../limits/budgets.ts';
import type { Steps } from '../../limits/turns.ts';
import type { Logger } from '../../ops/logger.ts';
import type { Clock } from '../../ports/clock.ts';
import type { ConnectionMetrics } from '../../ports/observer.ts';
import type { Relay } from '../../relay/relay.ts';
import type { Session } from '../../relay/session.ts';
import type { EdgeOptions } from '../http/deps.ts';
import type { Limiting } from '../http/limiting.ts';
import type { PartyOf } from '../http/party-of.ts';
import type { ClientFrame } from './frame.ts';

/** What the WebSocket transport needs. */
export interface WebSocketDeps {
	readonly relay: Relay;
	readonly clock: Clock;
	readonly logger: Logger;
	readonly metrics: ConnectionMetrics;
	/** Null where nobody is asked for credentials. */
	readonly auth: Auth | null;
	/** Null where there are no rate limits. */
	readonly limiting: Limiting | null;
	/** Null where accounts have no caps. */
	readonly caps: AccountCaps | null;
	readonly rights: TopicRights;
	readonly budgets: Budgets;
	readonly partyOf: PartyOf;
	readonly edge: Pick<EdgeOptions, 'trustsHost' | 'origins' | 'logRefusal' | 'traffic'>;
	/** The largest message a client may send. */
	readonly messageBytesMax: number;
	readonly payloadDepthMax: number;
	readonly socketBufferBytes: number;
	readonly pingIntervalS: number;
}

export interface CommandContext {
	/** `sess_` and 12 hex digits. */
	readonly id: string;
	readonly deps: WebSocketDeps;
	readonly session: Session;
	readonly principal: Principal;
	/** Looks at the rights again: what was allowed when the frame came need not be when it has taken effect. */
	recheck(): void;
	/** Goes on with another principal: a token was refreshed. */
	replace(principal: KnownPrincipal): void;
	/** The `timestamp` of answers: now. */
	timestamp(): string;
	/** Reads what is used of a frame: at once when that is short, else in steps. */
	read<Result>(frame: ClientFrame, steps: Steps<Result>): Result | Promise<Result>;
	/** Answers a frame, repeating its `ref`. Answers of one turn go out in one write. */
	reply(frame: ClientFrame, answer: object): void;
	/** Answers with an error, and closes the connection where the error table says so. */
	fail(frame: ClientFrame | null, thrown: unknown): void;
	/** Bytes of a publish are on their way to the store; a connection with too many is not read. */
	publishing(bytes: number): void;
	/** The counterpart of {@link publishing}. */
	published(bytes: number): void;
}

/** A command that takes time returns a promise; the frames after it wait. */
export type Command = (context: CommandContext, frame: ClientFrame) => Promise<void> | undefined;
