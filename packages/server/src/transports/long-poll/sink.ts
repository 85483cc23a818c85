/** The long-poll "sink": an answer, put together from the messages' JSON objects as they were encoded for every transport. */

import { formatCursor } from '@pulsar-relay/protocol/cursor';
import { gapObject } from '@pulsar-relay/protocol/frames';
import { formatMessageId } from '@pulsar-relay/protocol/message-id';
import type { PollAnswer } from '../../relay/poll.ts';

const COMMA = Buffer.from(',');
const OPEN_BRACE_BYTES = 1;

/** `{messages, next_offset, has_more, gaps}`, the answer of `GET /api/v1/poll`. */
export function encodePollAnswer(answer: PollAnswer): Buffer {
	const parts: Uint8Array[] = [Buffer.from('{"messages":[')];
	const start = parts.length;
	for (const slice of answer.slices) {
		slice.forEach((_id, json) => {
			if (parts.length > start) parts.push(COMMA);
			parts.push(json);
		});
	}
	const [single] = answer.cursors.size === 1 ? answer.cursors.values() : [];
	const next = single === undefined ? formatCursor(answer.cursors) : formatMessageId(single);
	parts.push(Buffer.from(`],"next_offset":"${next}",${tail(answer)}`));
	return Buffer.concat(parts);
}

/** `{messages, has_more, gaps}` with a `stream_id` in each message, the answer that existing clients of `POST /messages/poll` know. */
export function encodeCompatiblePollAnswer(answer: PollAnswer): Buffer {
	const parts: Uint8Array[] = [Buffer.from('{"messages":[')];
	const start = parts.length;
	for (const slice of answer.slices) {
		slice.forEach((id, json) => {
			parts.push(
				Buffer.from(`${parts.length > start ? ',' : ''}{"stream_id":"${formatMessageId(id)}",`),
				json.subarray(OPEN_BRACE_BYTES),
			);
		});
	}
	parts.push(Buffer.from(`],${tail(answer)}`));
	return Buffer.concat(parts);
}

function tail(answer: PollAnswer): string {
	return `"has_more":${answer.hasMore},"gaps":${JSON.stringify(answer.gaps.map(gapObject))}}`;
}
