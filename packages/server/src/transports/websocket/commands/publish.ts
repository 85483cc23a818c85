/**
 * `publish {topic, payload, ttl?, metadata?, idempotency_key?, ref?}` → `published {message_id, topic, timestamp, ref}` once the
 * message is stored (I2). Publishes of one connection are stored in the order they came in; their answers keep that order per
 * topic.
 */

import { RelayError } from '@pulsar-relay/protocol/errors';
import { timestampOf } from '@pulsar-relay/protocol/frames';
import { formatMessageId } from '@pulsar-relay/protocol/message-id';
import type { DedupeKey } from '../../../ports/store.ts';
import type { PublishOutcome } from '../../../relay/publish.ts';
import { fingerprintOf, idempotencyConflict, scopedKey } from '../../http/idempotency.ts';
import { parsePublication, publicationOf, type WellFormed } from '../../http/publication.ts';
import type { CommandContext } from '../command.ts';
import type { ClientFrame } from '../frame.ts';

export function publish(context: CommandContext, frame: ClientFrame): Promise<void> | undefined {
	const { bytes } = frame;
	const { rights, payloadDepthMax } = context.deps;
	const owners = rights.owners;
	const parsed = parsePublication(bytes, 0, bytes.byteLength, { payloadDepthMax, owners, at: ['frame'] });
	if (parsed.status === 'invalid') throw parsed.error;
	const reference = rights.allow(context.principal, 'publish', parsed.topic);
	if (!(reference instanceof Promise)) {
		store(context, frame, parsed, reference.topic);
		return undefined;
	}
	// The frames after it wait, so that publishes keep their order.
	return reference.then(({ topic }) => store(context, frame, parsed, topic));
}

function store(context: CommandContext, frame: ClientFrame, parsed: WellFormed, topic: string): void {
	const { relay, clock } = context.deps;
	// The close frame is out, and nothing can be answered after it.
	if (relay.draining) throw new RelayError('shutting_down', 'this node is draining');
	const { byteLength } = frame.bytes;
	const publication = publicationOf(parsed, topic, clock.nowMs(), dedupeOf(context, frame, parsed));
	context.publishing(byteLength);
	relay
		.publish([publication])
		.then(
			([outcome]) => answer(context, frame, parsed.topic, outcome),
			(error: unknown) => context.fail(frame, error),
		)
		.finally(() => context.published(byteLength));
}

function answer(context: CommandContext, frame: ClientFrame, topic: string, outcome: PublishOutcome | undefined): void {
	if (outcome === undefined || outcome.status === 'failed') {
		context.fail(frame, outcome?.error);
	} else if (outcome.status === 'conflict') {
		context.fail(frame, idempotencyConflict());
	} else {
		const { id } = outcome;
		context.reply(frame, { type: 'published', message_id: formatMessageId(id), topic, timestamp: timestampOf(id.ms) });
	}
}

/** The fingerprint is over the message, not the frame: a retry may carry another `ref`. */
function dedupeOf(
	{ principal }: CommandContext,
	{ idempotencyKey }: ClientFrame,
	{ topic, payload, metadata, ttlS }: WellFormed,
): DedupeKey | null {
	if (idempotencyKey === undefined || idempotencyKey === null) return null;
	// What is not a text is refused like a text that is no key.
	const key = scopedKey(typeof idempotencyKey === 'string' ? idempotencyKey : [], principal);
	if (key === null) return null;
	const message = Buffer.concat([Buffer.from(`${topic}\n${ttlS}\n`), metadata ?? Buffer.alloc(0), Buffer.from('\n'), payload]);
	return { key, item: 0, fingerprint: fingerprintOf('/ws', message) };
}
