/** The text/event-stream format, read from a response (WHATWG HTML, "Server-sent events"). */

export interface ServerEvent {
	/** `message` when it has no name. */
	readonly name: string;
	readonly data: string;
}

/** What an event stream consists of. A comment shows that the other end lives. */
export type StreamItem =
	| { readonly kind: 'event'; readonly event: ServerEvent }
	| { readonly kind: 'retry'; readonly retryMs: number }
	| { readonly kind: 'comment' };

/** Reads events until the stream ends. An event without its empty line is dropped, as the format wants. */
export async function* readEvents(body: ReadableStream<Uint8Array>): AsyncGenerator<StreamItem> {
	let name = '';
	let data: string[] = [];
	for await (const line of readLines(body)) {
		if (line === '') {
			if (data.length > 0) yield { kind: 'event', event: { name: name === '' ? 'message' : name, data: data.join('\n') } };
			name = '';
			data = [];
			continue;
		}
		const colon = line.indexOf(':');
		const field = colon < 0 ? line : line.slice(0, colon);
		const value = colon < 0 ? '' : line.slice(line[colon + 1] === ' ' ? colon + 2 : colon + 1);
		if (field === '') yield { kind: 'comment' };
		else if (field === 'data') data.push(value);
		else if (field === 'event') name = value;
		else if (field === 'retry' && /^\d+$/.test(value)) yield { kind: 'retry', retryMs: Number(value) };
	}
}

async function* readLines(body: ReadableStream<Uint8Array>): AsyncGenerator<string> {
	const decoder = new TextDecoder();
	const reader = body.getReader();
	let rest = '';
	try {
		for (;;) {
			const { done, value } = await reader.read();
			if (done) return;
			// The relay ends lines by LF; a CR before it is part of the end.
			const lines = (rest + decoder.decode(value, { stream: true })).split('\n');
			rest = lines.pop() ?? '';
			for (const line of lines) yield line.endsWith('\r') ? line.slice(0, -1) : line;
		}
	} finally {
		await reader.cancel().catch(() => undefined);
	}
}
