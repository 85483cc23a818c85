/**
 * A message to publish, from its JSON text: the small fields are validated, the payload is only found, so that it is stored
 * byte for byte (I6). Used by every way to publish, over HTTP and WebSocket.
 */

import type { Problem, RelayError } from '@pulsar-relay/protocol/errors';
import { type ByteRange, type ObjectScan, objectScanner } from '@pulsar-relay/protocol/json-scan';
import { isTopicName, isTopicReference } from '@pulsar-relay/protocol/topic-name';
import { STEP_BYTES, type Steps } from '../../limits/turns.ts';
import type { DedupeKey } from '../../ports/store.ts';
import type { Publication } from '../../relay/publish.ts';
import { parseShort, scanError, scanInSteps } from './json-body.ts';
import { METADATA_BYTES_MAX, Message, ReferencedMessage } from './schemas.ts';
import { compileValidator, invalid, type Location } from './validation.ts';

/** What reading a publication needs to know beside the text. */
export interface PublicationContext {
	/** Levels of nesting of the payload. */
	readonly payloadDepthMax: number;
	/** Whether the topic may be named with its owner. */
	readonly owners: boolean;
	/** Where the text stands in the request, for the problems: `['body']`, `['body', 'messages', 3]`. */
	readonly at: Location;
}

/** What was read. The byte views share the memory of the text. */
export type ParsedPublication =
	| {
			readonly status: 'ok';
			/** As the publisher names it. */
			readonly topic: string;
			/** The payload's JSON text. */
			readonly payload: Uint8Array;
			/** The JSON text of the metadata object, null when there is none. */
			readonly metadata: Uint8Array | null;
			readonly ttlS: number | null;
	  }
	| {
			readonly status: 'invalid';
			/** `invalid_json`, `payload_too_deep`, `invalid_topic` or `invalid_request`. */
			readonly error: RelayError;
	  };

/** A message that can be published. */
export type WellFormed = Extract<ParsedPublication, { readonly status: 'ok' }>;

/** The values of a message's members, where there are such. */
export type MessageMembers = readonly [
	topic: ByteRange | undefined,
	payload: ByteRange | undefined,
	ttl: ByteRange | undefined,
	metadata: ByteRange | undefined,
];

const MEMBERS = ['topic', 'payload', 'ttl', 'metadata'] as const;
const scanMessage = objectScanner(MEMBERS);
const validateMessage = compileValidator(Message);
const validateReferenced = compileValidator(ReferencedMessage);

const QUOTE = 0x22;
const LETTER_N = 0x6e;

/** JSON texts of these members that are longer are none that is allowed. */
const TOPIC_TEXT_BYTES_MAX = 2048;
const TTL_TEXT_BYTES_MAX = 64;

/**
 * Reads `{topic, payload, ttl?, metadata?}` from `bytes[start … end)`, which must be UTF-8, in one go: for short texts. Fields that it
 * does not know are ignored; of equal fields the last one counts, as in `JSON.parse`.
 */
export function parsePublication(bytes: Buffer, start: number, end: number, context: PublicationContext): ParsedPublication {
	// The object around the payload is the first level.
	return fromScan(scanMessage(bytes, start, end, context.payloadDepthMax + 1), bytes, start, context);
}

/** As {@link parsePublication}, in steps: for long texts. */
export function* readPublication(
	bytes: Buffer,
	start: number,
	end: number,
	context: PublicationContext,
): Steps<ParsedPublication> {
	if (end - start <= STEP_BYTES) return parsePublication(bytes, start, end, context);
	const scan = yield* scanInSteps(scanMessage.inSteps(bytes, start, end, context.payloadDepthMax + 1), start);
	return fromScan(scan, bytes, start, context);
}

function fromScan(
	scan: ObjectScan<typeof MEMBERS>,
	bytes: Buffer,
	start: number,
	context: PublicationContext,
): ParsedPublication {
	if (scan.status === 'not_object') return { status: 'invalid', error: notAnObject(context.at) };
	if (scan.status !== 'ok') return { status: 'invalid', error: scanError(scan, start, context.payloadDepthMax) };
	return publicationFrom(bytes, scan.members, context);
}

/** Reads a message whose members have been found in well-formed JSON. Only the small ones are parsed. */
export function publicationFrom(bytes: Buffer, members: MessageMembers, context: PublicationContext): ParsedPublication {
	const [topicRange, payloadRange, ttlRange, metadataRange] = members;
	if (topicRange !== undefined && payloadRange !== undefined && isNull(bytes, ttlRange) && isNull(bytes, metadataRange)) {
		// Nearly every message. A topic spelled with escapes is not found to be one here, and goes the long way.
		const short = topicRange.end - topicRange.start <= TOPIC_TEXT_BYTES_MAX && bytes[topicRange.start] === QUOTE;
		const topic = short ? bytes.toString('latin1', topicRange.start + 1, topicRange.end - 1) : '';
		if (context.owners ? isTopicReference(topic) : isTopicName(topic))
			return { status: 'ok', topic, payload: view(bytes, payloadRange), metadata: null, ttlS: null };
	}
	if (metadataRange !== undefined && metadataRange.end - metadataRange.start > METADATA_BYTES_MAX) {
		return { status: 'invalid', error: metadataTooLong(metadataRange, context.at) };
	}
	const fields: Record<string, unknown> = {};
	if (topicRange !== undefined) fields['topic'] = parseShort(bytes, topicRange, TOPIC_TEXT_BYTES_MAX);
	if (payloadRange !== undefined) fields['payload'] = null;
	if (ttlRange !== undefined) fields['ttl'] = parseShort(bytes, ttlRange, TTL_TEXT_BYTES_MAX);
	if (metadataRange !== undefined) fields['metadata'] = parseShort(bytes, metadataRange, METADATA_BYTES_MAX);
	const error = (context.owners ? validateReferenced : validateMessage)(fields, context.at);
	if (error !== null || payloadRange === undefined) return { status: 'invalid', error: error ?? notAnObject(context.at) };
	return {
		status: 'ok',
		topic: fields['topic'] as string,
		payload: view(bytes, payloadRange),
		metadata: metadataRange === undefined || isNull(bytes, metadataRange) ? null : view(bytes, metadataRange),
		ttlS: (fields['ttl'] as number | null | undefined) ?? null,
	};
}

/**
 * The publication for a parsed message; its time to live runs from `nowMs`.
 *
 * @param topic as it is in the store
 */
export function publicationOf(parsed: WellFormed, topic: string, nowMs: number, dedupe: DedupeKey | null): Publication {
	const { payload, metadata, ttlS } = parsed;
	return { topic, entry: { payload, metadata, expiresAtMs: ttlS === null ? 0 : nowMs + ttlS * 1000, dedupe } };
}

function isNull(bytes: Buffer, range: ByteRange | undefined): boolean {
	// The text is well-formed: what begins with an n is null.
	return range === undefined || bytes[range.start] === LETTER_N;
}

function view(bytes: Buffer, { start, end }: ByteRange): Uint8Array {
	return bytes.subarray(start, end);
}

function metadataTooLong({ start, end }: ByteRange, at: Location): RelayError {
	const msg = `Metadata should have at most ${METADATA_BYTES_MAX} bytes of JSON, not ${end - start}`;
	return invalid([{ type: 'too_long', loc: [...at, 'metadata'], msg }]);
}

function notAnObject(at: Location): RelayError {
	const problem: Problem = {
		type: 'model_attributes_type',
		loc: at,
		msg: 'Input should be a valid dictionary or object to extract fields from',
	};
	return invalid([problem]);
}
