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
import { fingerprintInSteps, idempotencyConflict, scopedKey } from '../../http/idempotency.ts';
import { publicationFrom, publicationOf, type WellFormed } from '../../http/publication.ts';
import type { CommandContext } from '../command.ts';
import type { ClientFrame } from '../frame.ts';

/** Each character of a key may be written as an escape of six. */
const KEY_TEXT_BYTES_MAX = 6 * 255 + 2;

export function publish(context: CommandContext, frame: ClientFrame): Promise<void> | undefined {
	const { bytes } = frame;
	const { rights, payloadDepthMax } = context.deps;
	const owners = rights.owners;
	const members = [frame.member('topic'), frame.member('payload'), frame.member('ttl'), frame.member('metadata')] as const;
	const parsed = publicationFrom(bytes, members, { payloadDepthMax, owners, at: ['frame'] });
	if (parsed.status === 'invalid') throw parsed.error;
	const reference = rights.allow(context.principal, 'publish', parsed.topic);
	const key = keyOf(context, frame);
	const fingerprint = key === null ? '' : context.read(frame, fingerprintInSteps('/ws', partsOf(parsed)));
	const dedupeBy = (of: string) => (key === null ? null : { key, item: 0, fingerprint: of });
	if (!(reference instanceof Promise) && !(fingerprint instanceof Promise)) {
		store(context, frame, parsed, { topic: reference.topic, dedupe: dedupeBy(fingerprint) });
		return undefined;
	}
	// The frames after it wait, so that publishes keep their order.
	return Promise.all([reference, fingerprint]).then(([{ topic }, of]) =>
		store(context, frame, parsed, { topic, dedupe: dedupeBy(of) }),
	);
}

interface Target {
	/** As it is in the store. */
	readonly topic: string;
	readonly dedupe: DedupeKey | null;
}

function store(context: CommandContext, frame: ClientFrame, parsed: WellFormed, { topic, dedupe }: Target): void {
	const { relay, clock } = context.deps;
	// The close frame is out, and nothing can be answered after it.
	if (relay.draining) throw new RelayError('shutting_down', 'this node is draining');
	const { byteLength } = frame.bytes;
	const publication = publicationOf(parsed, topic, clock.nowMs(), dedupe);
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

function keyOf({ principal }: CommandContext, frame: ClientFrame): string | null {
	const text = frame.value('idempotency_key', KEY_TEXT_BYTES_MAX);
	if (text === undefined || text === null) return null;
	// What is not a text is refused like a text that is no key.
	return scopedKey(typeof text === 'string' ? text : [], principal);
}

/** The fingerprint is over the message, not the frame: a retry may carry another `ref`. */
function partsOf({ topic, payload, metadata, ttlS }: WellFormed): Uint8Array[] {
	return [Buffer.from(`${topic}\n${ttlS}\n`), metadata ?? Buffer.alloc(0), Buffer.from('\n'), payload];
}
