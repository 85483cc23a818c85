/** Records and their changes, as they are on the server: names, stored texts, announcements. */

import type { RecordOp, StoredRecord } from '../../ports/records.ts';
import { unavailable } from './failure.ts';
import type { Reply } from './glide.ts';

/** Kind and id. */
export type ChangedRecord = readonly [kind: string, id: string];

export interface RecordChange {
	/** Of the change before this one. */
	readonly previous: number;
	readonly version: number;
	readonly changed: readonly ChangedRecord[];
}

/** Kinds have no slash. */
export function recordName(kind: string, id: string): string {
	return `${kind}/${id}`;
}

/** The record of a stored text; undefined when there is none. Throws `storage_unavailable` when it was written by hand. */
export function parseRecord(name: string, stored: Reply): StoredRecord | undefined {
	if (stored === null) return undefined;
	const text = String(stored);
	const [start, version, expires] = /^(\d+) (-|\d+) (?=\{)/.exec(text) ?? [];
	if (start === undefined) throw unavailable(`the record ${name} was not written by a relay`);
	return {
		id: name.slice(name.indexOf('/') + 1),
		value: JSON.parse(text.slice(start.length)) as StoredRecord['value'],
		version: Number(version),
		expiresAtMs: expires === '-' ? null : Number(expires),
	};
}

/** What a write changes, if it is made. */
export function changedBy(ops: readonly RecordOp[]): ChangedRecord[] {
	return ops.filter(({ op }) => op !== 'check').map(({ kind, id }) => [kind, id]);
}

/** A part as the script takes it. */
export function partOf(op: RecordOp): string[] {
	const put = op.op === 'put';
	const expiresAtMs = put ? (op.expiresAtMs ?? null) : null;
	const expires = expiresAtMs === null ? '-' : String(expiresAtMs);
	return [op.op, recordName(op.kind, op.id), String(op.expected), expires, put ? JSON.stringify(op.value) : ''];
}

/** The names of a kind that begin with a prefix and come after an id, as the least and the greatest of a range by bytes. */
export function lexRange(kind: string, prefix: string, after: string | null): readonly [min: Buffer, max: Buffer] {
	const start = Buffer.from(recordName(kind, prefix));
	const last = after === null ? null : Buffer.from(recordName(kind, after));
	const min = last === null || Buffer.compare(last, start) < 0 ? mark('[', start) : mark('(', last);
	// No UTF-8 has this byte, so that it ends the range of what begins with the prefix.
	return [min, Buffer.concat([mark('(', start), Buffer.of(0xff)])];
}

function mark(kind: '[' | '(', bytes: Buffer): Buffer {
	return Buffer.concat([Buffer.from(kind), bytes]);
}

/** `<previous version> <version> <JSON of what changed>`; undefined when it is not: anybody who reaches the server can publish. */
export function parseChange(message: Uint8Array): RecordChange | undefined {
	const [start, previous, version] = /^(\d{1,16}) (\d{1,16}) /.exec(new TextDecoder().decode(message)) ?? [];
	if (start === undefined) return undefined;
	try {
		const changed: unknown = JSON.parse(new TextDecoder().decode(message.subarray(start.length)));
		return isChanged(changed) ? { previous: Number(previous), version: Number(version), changed } : undefined;
	} catch {
		return undefined;
	}
}

function isChanged(changed: unknown): changed is readonly ChangedRecord[] {
	const isText = (one: unknown) => typeof one === 'string';
	const isPair = (pair: unknown) => Array.isArray(pair) && pair.length === 2 && pair.every(isText);
	return Array.isArray(changed) && changed.every(isPair);
}
