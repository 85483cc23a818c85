/** A batch of lines of a streamed publish: read, published together, and answered in order with one text. */

import { isUtf8 } from 'node:buffer';
import { type ErrorCode, RelayError } from '@pulsar-relay/protocol/errors';
import { timestampOf } from '@pulsar-relay/protocol/frames';
import { formatMessageId } from '@pulsar-relay/protocol/message-id';
import type { Principal } from '../../../auth/principal.ts';
import type { TopicReference, TopicRights } from '../../../auth/topic-access.ts';
import { tokensFor } from '../../../limits/budgets.ts';
import { STEP_BYTES, type Steps } from '../../../limits/turns.ts';
import type { Clock } from '../../../ports/clock.ts';
import type { Publication, PublishOutcome } from '../../../relay/publish.ts';
import type { Relay } from '../../../relay/relay.ts';
import { fingerprintInSteps, fingerprintOf, idempotencyConflict } from '../idempotency.ts';
import { afterMark, encodingError, isUtf8InSteps } from '../json-body.ts';
import {
	type ParsedPublication,
	type PublicationContext,
	parsePublication,
	publicationOf,
	readPublication,
} from '../publication.ts';

/** What all lines of a stream share. */
export interface LineContext {
	readonly clock: Clock;
	readonly payloadDepthMax: number;
	/** The request's idempotency key with its scope; each line has its own below it. */
	readonly key: string | null;
	/** Stands in the fingerprint of each line. */
	readonly route: string;
	readonly rights: TopicRights;
	readonly principal: Principal;
}

/** The answer to a line that is not published, and how many of the batch's publications come before it. */
interface Refusal {
	readonly before: number;
	readonly text: string;
}

/** What a line costs beside its bytes, in objects and in its answer: a body of `{}` lines is a hundred times its size in these. */
const LINE_OVERHEAD_BYTES = 256;
const SPACE = 0x20;

/** What was read of a line. */
export interface LineRead {
	readonly parsed: ParsedPublication;
	readonly byteLength: number;
	/** Empty when there is no key. */
	readonly fingerprint: string;
}

/** Reads a long line in steps; null for a blank one. Throws `invalid_json` when it is not UTF-8. */
export function* readLine(bytes: Buffer, start: number, end: number, context: LineContext): Steps<LineRead | null> {
	if (yield* isBlankInSteps(bytes, start, end)) return null;
	if (!(yield* isUtf8InSteps(bytes, start, end))) throw encodingError();
	const parsed = yield* readPublication(bytes, afterMark(bytes, start), end, parseContext(context));
	const { key, route } = context;
	const line = bytes.subarray(start, end);
	const fingerprint = key === null || parsed.status !== 'ok' ? '' : yield* fingerprintInSteps(route, [line]);
	return { parsed, byteLength: line.byteLength, fingerprint };
}

function parseContext({ payloadDepthMax, rights }: LineContext): PublicationContext {
	return { payloadDepthMax, owners: rights.owners, at: ['body'] };
}

export class LineBatch {
	readonly #context: LineContext;
	readonly #parse: PublicationContext;
	readonly #publications: Publication[] = [];
	/** Of each publication, the number of its line, and its topic as the line names it. */
	readonly #numbers: number[] = [];
	readonly #shown: string[] = [];
	/** Looking up the right to publish of lines that name the topics of others. */
	#undecided: Promise<void>[] = [];
	/** Lines that turned out not to be allowed, by their place among the publications. */
	readonly #denied = new Map<number, RelayError>();
	readonly #refusals: Refusal[] = [];
	readonly #rejections: ErrorCode[] = [];
	#lineBytes = 0;
	#tokens = 0;
	#answers: string | null = null;
	#defect: RelayError | null = null;

	constructor(context: LineContext) {
		this.#context = context;
		this.#parse = parseContext(context);
	}

	/** Lines in it; blank ones do not count. */
	get size(): number {
		return this.#publications.length + this.#refusals.length;
	}

	/** What it costs of the rate limit: its lines, and the size of long ones. */
	get tokens(): number {
		return this.size + this.#tokens;
	}

	/** About how much memory it takes. */
	get costBytes(): number {
		return this.#lineBytes + this.size * LINE_OVERHEAD_BYTES;
	}

	/** The answers to its lines; null until it is settled. */
	get answers(): string | null {
		return this.#answers;
	}

	/** The code of each line that was rejected; complete once it is settled. */
	get rejections(): readonly ErrorCode[] {
		return this.#rejections;
	}

	/** An `internal_error` among the rejections, for the log. */
	get defect(): RelayError | null {
		return this.#defect;
	}

	/** Adds line `number`, `bytes[start … end)`, a short one. A blank one is passed over. */
	add(number: number, bytes: Buffer, start: number, end: number): void {
		if (isBlank(bytes, start, end)) return;
		const line = bytes.subarray(start, end);
		if (!isUtf8(line)) {
			this.#lineBytes += line.byteLength;
			this.reject(number, encodingError());
			return;
		}
		const parsed = parsePublication(bytes, afterMark(bytes, start), end, this.#parse);
		const { key, route } = this.#context;
		this.#accept(number, line.byteLength, parsed, key === null ? '' : fingerprintOf(route, line));
	}

	/** Adds a long line that has been read. */
	addRead(number: number, { parsed, byteLength, fingerprint }: LineRead): void {
		this.#accept(number, byteLength, parsed, fingerprint);
	}

	#accept(number: number, byteLength: number, parsed: ParsedPublication, fingerprint: string): void {
		this.#lineBytes += byteLength;
		this.#tokens += tokensFor(byteLength);
		if (parsed.status === 'invalid') {
			this.reject(number, parsed.error);
			return;
		}
		const { clock, key, rights, principal } = this.#context;
		let reference: TopicReference | Promise<TopicReference>;
		try {
			reference = rights.allow(principal, 'publish', parsed.topic);
		} catch (thrown) {
			this.reject(number, RelayError.from(thrown));
			return;
		}
		if (reference instanceof Promise) this.#decideLater(this.#publications.length, reference);
		const topic = reference instanceof Promise ? '' : reference.topic;
		const dedupe = key === null ? null : { key: `${key}#${number}`, item: 0, fingerprint };
		this.#publications.push(publicationOf(parsed, topic, clock.nowMs(), dedupe));
		this.#numbers.push(number);
		this.#shown.push(parsed.topic);
	}

	/** Adds a line that cannot be published. */
	reject(number: number, error: RelayError): void {
		this.#refusals.push({ before: this.#publications.length, text: this.#rejected(number, error) });
	}

	/** What must be waited for before it can be published: rights to the topics of others. Null when there is nothing. */
	decide(): Promise<void> | null {
		if (this.#undecided.length === 0) return null;
		const undecided = this.#undecided;
		this.#undecided = [];
		return Promise.all(undecided).then(() => {});
	}

	/** Publishes the batch, which is decided. It is settled after that, unless the relay had no room for it: then it can be offered again. */
	async publish(relay: Relay): Promise<'settled' | 'overloaded'> {
		let outcomes: readonly PublishOutcome[] = [];
		const allowed = this.#denied.size === 0 ? this.#publications : this.#publications.filter((_, i) => !this.#denied.has(i));
		if (this.#publications.length > 0) {
			try {
				outcomes = await relay.publish(allowed);
			} catch (thrown) {
				const error = RelayError.from(thrown);
				if (error.code === 'overloaded') return 'overloaded';
				outcomes = allowed.map(() => ({ status: 'failed', error }));
			}
		}
		this.#settle(this.#denied.size === 0 ? outcomes : this.#withDenied(outcomes));
		return 'settled';
	}

	/** Its outcome is taken as soon as it is there: a refusal that nobody waits for yet would count as a defect. */
	#decideLater(place: number, decision: Promise<TopicReference>): void {
		const taken = decision.then(
			({ topic }) => {
				this.#publications[place] = { ...(this.#publications[place] as Publication), topic };
			},
			(thrown: unknown) => void this.#denied.set(place, RelayError.from(thrown)),
		);
		this.#undecided.push(taken);
	}

	#withDenied(outcomes: readonly PublishOutcome[]): PublishOutcome[] {
		let next = 0;
		return this.#publications.map((_, i) => {
			const error = this.#denied.get(i);
			return error === undefined ? (outcomes[next++] as PublishOutcome) : { status: 'failed', error };
		});
	}

	#settle(outcomes: readonly PublishOutcome[]): void {
		let text = '';
		let refused = 0;
		let ms = -1;
		let timestamp = '';
		for (let i = 0; i <= outcomes.length; i++) {
			for (; refused < this.#refusals.length && this.#refusals[refused]?.before === i; refused++) {
				text += this.#refusals[refused]?.text;
			}
			const outcome = outcomes[i];
			if (outcome === undefined) break;
			const number = this.#numbers[i] as number;
			if (outcome.status === 'failed') text += this.#rejected(number, outcome.error);
			else if (outcome.status === 'conflict') text += this.#rejected(number, idempotencyConflict());
			else {
				// Most of a batch was stored in one millisecond.
				if (outcome.id.ms !== ms) timestamp = timestampOf(outcome.id.ms);
				ms = outcome.id.ms;
				const topic = this.#shown[i];
				text += `{"line":${number},"status":"accepted","message_id":"${formatMessageId(outcome.id)}","topic":"${topic}","timestamp":"${timestamp}"}\n`;
			}
		}
		this.#answers = text;
	}

	#rejected(number: number, error: RelayError): string {
		this.#rejections.push(error.code);
		if (error.code === 'internal_error') this.#defect = error;
		return `{"line":${number},"status":"rejected","error":"${error.code}","message":${JSON.stringify(error.message)}}\n`;
	}
}

function* isBlankInSteps(bytes: Buffer, start: number, end: number): Steps<boolean> {
	for (let at = start; at < end; at += STEP_BYTES) {
		if (!isBlank(bytes, at, Math.min(end, at + STEP_BYTES))) return false;
		yield;
	}
	return true;
}

function isBlank(bytes: Buffer, start: number, end: number): boolean {
	for (let i = start; i < end; i++) {
		const byte = bytes[i] as number;
		// Of what is at or below the space only JSON's whitespace is blank; the scanner refuses the rest.
		if (byte > SPACE) return false;
	}
	return true;
}
