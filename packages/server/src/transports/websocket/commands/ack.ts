/** `ack {message_id}`: checked and not answered. A subscriber keeps its own cursor; the relay stores none for it. */

import { RelayError } from '@pulsar-relay/protocol/errors';
import { parseMessageId } from '@pulsar-relay/protocol/message-id';
import type { CommandContext } from '../command.ts';
import type { ClientFrame } from '../frame.ts';

const ID_TEXT_BYTES_MAX = 512;

export function ack(_context: CommandContext, frame: ClientFrame): undefined {
	const id = frame.value('message_id', ID_TEXT_BYTES_MAX);
	if (typeof id !== 'string' || parseMessageId(id) === undefined)
		throw new RelayError('invalid_cursor', '`message_id` is not a message id');
}
