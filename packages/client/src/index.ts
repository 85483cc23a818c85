/** The client of Pulsar Relay, for browsers, Node, Deno and Bun. */

export { type CursorStore, memoryCursors, sessionCursors } from './cursor-store.ts';
export { type ClientErrorCode, type Gap, GapError, RelayError } from './errors.ts';
export type { Position, TransportKind } from './links/link.ts';
export { Message } from './message.ts';
export { type Published, type PublishOptions, RawJson } from './publisher.ts';
export type { ReadOptions } from './read.ts';
export { type ConnectOptions, connect, type FollowOptions, type HistoryOptions, Relay } from './relay.ts';
export type { Observable, RelayStatus } from './status.ts';
export type { TokenOption } from './token-source.ts';
