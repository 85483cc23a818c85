/** Messages and blocks for tests of what lies below the store. */

import { formatMessageId } from '@pulsar-relay/protocol/message-id';
import { type Block, type NewMessage, packMessages } from '../../../../src/log/block.ts';
import type { Deliverable } from '../../../../src/ports/sink.ts';
import { HotBlock } from '../../../../src/relay/hot-block.ts';

/** The messages of a slice, with their JSON objects as text. */
export function messagesIn(slice: Deliverable | null): { readonly id: string; readonly json: string }[] {
	const messages: { id: string; json: string }[] = [];
	slice?.forEach((id, json) => {
		messages.push({ id: formatMessageId(id), json: Buffer.from(json).toString() });
	});
	return messages;
}

/** A message with the given JSON text. */
export function message(payload: string, expiresAtMs = 0, metadata: string | null = null): NewMessage {
	return { payload: Buffer.from(payload), metadata: metadata === null ? null : Buffer.from(metadata), expiresAtMs };
}

/** A block of messages from `<ms>-<n>` on. */
export function blockOf(ms: number, n: number, messages: readonly NewMessage[]): Block {
	return { ms, n, count: messages.length, packed: packMessages(messages) };
}

/** A block of `count` messages, each a string of `length` characters. */
export function hotBlock(ms: number, count: number, { n = 0, length = 1, topic = 't' } = {}): HotBlock {
	const payload = `"${'x'.repeat(length)}"`;
	const messages = Array.from({ length: count }, () => message(payload));
	return new HotBlock(topic, blockOf(ms, n, messages));
}
