/**
 * What nodes tell each other about a topic on its channel: a line of words, then, for an append, the packed run of messages, unless
 * that is large.
 *
 *   a <previous id> <floor> <first id> <last id> <a letter per message: appended, duplicate, conflict; nothing = all appended>
 *   t <floor>
 *   d <tip> <id of the topic>
 */

import { formatMessageId, type MessageId, parseMessageId } from '@pulsar-relay/protocol/message-id';
import { type Block, lastIdOf, readBlock } from '../../log/block.ts';
import { pickFromRun } from '../../log/packing.ts';

export type Announcement =
	| {
			readonly kind: 'appended';
			readonly previous: MessageId;
			readonly floor: MessageId;
			readonly last: MessageId;
			/**
			 * Unpacks the messages, when somebody needs them: a node hears its own appends, too. Gives null when they have to be read:
			 * they are not in the announcement, or what is there is not what it says.
			 */
			readonly block: () => Block | null;
	  }
	| { readonly kind: 'trimmed'; readonly floor: MessageId }
	| { readonly kind: 'deleted'; readonly tip: MessageId; readonly topicId: string };

/** As in append.lua: a larger block is announced without its messages. */
const ANNOUNCED_BYTES_MAX = 262_144;
const LF = 0x0a;
const text = new TextDecoder();

/** What append.lua announces by itself where appends do not wait for replicas. */
export function announcementOf(previous: MessageId, floor: MessageId, block: Block): Buffer {
	const ids = [previous, floor, block, lastIdOf(block)].map(formatMessageId);
	const { packed } = block;
	const body = packed.byteLength <= ANNOUNCED_BYTES_MAX ? packed : new Uint8Array();
	return Buffer.concat([Buffer.from(`a ${ids.join(' ')} \n`), body]);
}

/** Undefined when it is none: anybody who reaches the server can publish on a channel. */
export function parseAnnouncement(message: Uint8Array): Announcement | undefined {
	const end = message.indexOf(LF);
	if (end < 0) return undefined;
	const [kind, ...words] = text.decode(message.subarray(0, end)).split(' ');
	const [one, floor, first, last] = words.slice(0, 4).map(parseMessageId);
	if (one === undefined) return undefined;
	if (kind === 't') return { kind: 'trimmed', floor: one };
	if (kind === 'd') return { kind: 'deleted', tip: one, topicId: words[1] ?? '' };
	if (kind !== 'a' || floor === undefined || first === undefined || last === undefined) return undefined;
	const packed = message.subarray(end + 1);
	return { kind: 'appended', previous: one, floor, last, block: () => blockOf(packed, first, last, words[4] ?? '') };
}

function blockOf(packed: Uint8Array, first: MessageId, last: MessageId, flags: string): Block | null {
	if (!isWhole(packed)) return null;
	// A copy of its own memory: the hot tier keeps it, and must not keep what else the library read with it.
	const run = { count: readBlock(packed).count, packed: new Uint8Array(packed) };
	const picked = flags === '' ? run : pickFromRun(run, (i) => flags[i] === 'a');
	if (picked === null || first.ms !== last.ms || last.n - first.n !== picked.count - 1) return null;
	return { ms: first.ms, n: first.n, ...picked };
}

/** Whether it is a packed run (log/block.ts), as long as it says it is. */
function isWhole(packed: Uint8Array): boolean {
	if (packed.byteLength < 8) return false;
	const view = new DataView(packed.buffer, packed.byteOffset, packed.byteLength);
	const count = view.getUint32(0, true);
	const base = 8 + count * (view.getUint32(4, true) % 2 === 1 ? 16 : 8);
	return count > 0 && base <= packed.byteLength && base + view.getUint32(4 + 8 * count, true) === packed.byteLength;
}
