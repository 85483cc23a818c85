/**
 * Server-sent events (PROTOCOL.md, "SSE"): the text/event-stream form of what the relay sends.
 *
 * An event's data is one line of JSON, unless the payload itself contains line breaks between its tokens: then each line gets
 * its own `data:` field, which the reader joins with LF again. (A CR or CRLF between tokens reaches the reader as LF: the
 * format has no way to carry it. Inside strings JSON has no raw line breaks.)
 *
 * The id comes last. Some clients take it as soon as they have read it, and not with the end of the event: those would skip an event that
 * was cut off after its id.
 */

const text = new TextEncoder();
const DATA = text.encode('data: ');
const LF = 0x0a;
const CR = 0x0d;

/** A comment that keeps the connection from looking idle. */
export const SSE_HEARTBEAT = text.encode(': heartbeat\n\n');

/** How many bytes {@link writeSseData} writes for `json`, at most. */
export function sseDataBytesMax(json: Uint8Array): number {
	return DATA.byteLength * countLines(json) + json.byteLength + 1;
}

/** Writes `json` as the data field(s) of an event, which goes on. Returns where they end. */
export function writeSseData(target: Uint8Array, start: number, json: Uint8Array): number {
	let at = start;
	let line = 0;
	let cr = json.indexOf(CR);
	let lf = json.indexOf(LF);
	while (true) {
		// Each search goes on from its last hit, so that a text of many lines is still read once.
		if (cr >= 0 && cr < line) cr = json.indexOf(CR, line);
		if (lf >= 0 && lf < line) lf = json.indexOf(LF, line);
		const end = cr >= 0 && (lf < 0 || cr < lf) ? cr : lf >= 0 ? lf : json.byteLength;
		target.set(DATA, at);
		at += DATA.byteLength;
		target.set(json.subarray(line, end), at);
		at += end - line;
		target[at++] = LF;
		if (end === json.byteLength) break;
		line = json[end] === CR && json[end + 1] === LF ? end + 2 : end + 1;
	}
	return at;
}

/** One whole event. `event` and `id` must not contain line breaks (ours are names and cursors). */
export function encodeSseEvent(fields: { readonly event?: string; readonly id?: string; readonly data: string }): Uint8Array {
	const event = fields.event === undefined ? '' : `event: ${fields.event}\n`;
	const id = fields.id === undefined ? '' : `id: ${fields.id}\n`;
	return text.encode(`${event}data: ${fields.data}\n${id}\n`);
}

function countLines(json: Uint8Array): number {
	let lines = 1;
	for (let at = json.indexOf(LF); at >= 0; at = json.indexOf(LF, at + 1)) lines++;
	for (let at = json.indexOf(CR); at >= 0; at = json.indexOf(CR, at + 1)) lines++;
	return lines;
}
