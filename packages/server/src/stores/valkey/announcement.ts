/**
 * What nodes tell each other about a topic on its channel: a line of words, then, for an append, the packed run of messages.
 *
 *   a <previous id> <floor> <first id> <a letter per message: appended, duplicate, conflict; nothing = all appended>
 *   t <floor>
 *   d <tip> <id of the topic>
 */

import { type MessageId, parseMessageId } from '@pulsar-relay/protocol/message-id';
import { type Block, readBlock } from '../../log/block.ts';
import { pickFromRun } from '../../log/packing.ts';

export type Announcement =
	| {
			readonly kind: 'appended';
			readonly previous: MessageId;
			readonly floor: MessageId;
			readonly first: MessageId;
			readonly rest: Rest;
	  }
	| { readonly kind: 'trimmed'; readonly floor: MessageId }
	| { readonly kind: 'deleted'; readonly tip: MessageId; readonly topicId: string };

/** The messages of an announced append, unpacked only when somebody needs them: a node hears its own appends, too. */
export interface Rest {
	readonly count: number;
	block(): Block;
}

const LF = 0x0a;
const text = new TextDecoder();

/** Undefined when it is none: anybody who reaches the server can publish on a channel. */
export function parseAnnouncement(message: Uint8Array): Announcement | undefined {
	const end = message.indexOf(LF);
	if (end < 0) return undefined;
	const [kind = '', ...words] = text.decode(message.subarray(0, end)).split(' ');
	const [one, two, three] = words.slice(0, 3).map(parseMessageId);
	if (kind === 't' && one !== undefined) return { kind: 'trimmed', floor: one };
	if (kind === 'd' && one !== undefined) return { kind: 'deleted', tip: one, topicId: words[1] ?? '' };
	if (kind !== 'a' || one === undefined || two === undefined || three === undefined) return undefined;
	return {
		kind: 'appended',
		previous: one,
		floor: two,
		first: three,
		rest: restOf(message.subarray(end + 1), three, words[3] ?? ''),
	};
}

function restOf(packed: Uint8Array, first: MessageId, flags: string): Rest {
	const total = new DataView(packed.buffer, packed.byteOffset).getUint32(0, true);
	return {
		count: flags === '' ? total : countAppended(flags),
		block() {
			// A copy of its own memory: the hot tier keeps it, and must not keep what else the library read with it.
			const run = { count: readBlock(packed).count, packed: new Uint8Array(packed) };
			const picked = flags === '' ? run : pickFromRun(run, (i) => flags[i] === 'a');
			return { ms: first.ms, n: first.n, ...(picked ?? run) };
		},
	};
}

/** The messages that a string of letters says were appended. */
export function countAppended(flags: string): number {
	let count = 0;
	for (const flag of flags) if (flag === 'a') count++;
	return count;
}
