/** What WebSocket peers get wrong, as data: handshakes, frames, messages. */

import { clientFrame } from '../support/raw-websocket.ts';

interface BadMessage {
	readonly name: string;
	/** Text, or bytes for a binary frame. */
	readonly frame: string | Buffer;
	readonly code: string;
}

const deep = (levels: number) => '['.repeat(levels) + ']'.repeat(levels);

/** Well-formed frames with a message that is refused; the connection stays open. */
export const badMessages: readonly BadMessage[] = [
	{ name: 'a binary frame', frame: Buffer.from('{"type":"ping"}'), code: 'unknown_frame' },
	{ name: 'an empty frame', frame: '', code: 'invalid_json' },
	{ name: 'truncated JSON', frame: '{"type":"ping"', code: 'invalid_json' },
	{ name: 'a trailing comma', frame: '{"type":"ping",}', code: 'invalid_json' },
	{ name: 'two documents', frame: '{"type":"ping"}{"type":"ping"}', code: 'invalid_json' },
	{ name: 'NaN', frame: '{"type":"publish","topic":"t","payload":NaN}', code: 'invalid_json' },
	{ name: 'single quotes', frame: "{'type':'ping'}", code: 'invalid_json' },
	{ name: 'an array', frame: '[]', code: 'invalid_json' },
	{ name: 'a string', frame: '"ping"', code: 'invalid_json' },
	{ name: 'an unpaired surrogate', frame: '{"type":"publish","topic":"t","payload":"\\ud800"}', code: 'invalid_json' },
	{ name: 'nesting beyond the limit', frame: `{"type":"publish","topic":"t","payload":${deep(300)}}`, code: 'payload_too_deep' },
	{ name: 'nesting 20,000 levels deep', frame: deep(20_000), code: 'payload_too_deep' },
	{ name: 'an unknown type', frame: '{"type":"launch"}', code: 'unknown_frame' },
	{ name: 'a type that is a number', frame: '{"type":1}', code: 'unknown_frame' },
	{ name: 'the type __proto__', frame: '{"type":"__proto__"}', code: 'unknown_frame' },
	{ name: 'the type constructor', frame: '{"type":"constructor"}', code: 'unknown_frame' },
	{ name: 'a subscribe without topics', frame: '{"type":"subscribe"}', code: 'invalid_request' },
	{ name: 'a subscribe to nothing', frame: '{"type":"subscribe","topics":[]}', code: 'invalid_request' },
	{ name: 'topics that are no list', frame: '{"type":"subscribe","topics":"a"}', code: 'invalid_request' },
	{ name: 'a topic that is a number', frame: '{"type":"subscribe","topics":[1]}', code: 'invalid_topic' },
	{ name: 'a topic with braces', frame: '{"type":"subscribe","topics":["{a}"]}', code: 'invalid_topic' },
	{
		name: 'the topic __proto__ without a letter before',
		frame: '{"type":"subscribe","topics":["..__proto__"]}',
		code: 'invalid_topic',
	},
	{ name: 'an offset that is no cursor', frame: '{"type":"subscribe","topics":["a"],"offset":"$"}', code: 'invalid_cursor' },
	{ name: 'an offset that is a number', frame: '{"type":"subscribe","topics":["a"],"offset":5}', code: 'invalid_cursor' },
	{
		name: 'a since with garbage',
		frame: '{"type":"subscribe","topics":["a"],"since":{"a":"18446744073709551616-0"}}',
		code: 'invalid_cursor',
	},
	{ name: 'a since that is a list', frame: '{"type":"subscribe","topics":["a"],"since":["1-0"]}', code: 'invalid_request' },
	{ name: 'an unsubscribe without topics', frame: '{"type":"unsubscribe"}', code: 'invalid_request' },
	{ name: 'an ack of garbage', frame: '{"type":"ack","message_id":"x"}', code: 'invalid_cursor' },
	{ name: 'a publish without a payload', frame: '{"type":"publish","topic":"t"}', code: 'invalid_request' },
	{ name: 'a publish with a bad ttl', frame: '{"type":"publish","topic":"t","payload":1,"ttl":0}', code: 'invalid_request' },
	{
		name: 'a publish with metadata that is not flat',
		frame: '{"type":"publish","topic":"t","payload":1,"metadata":{"a":{}}}',
		code: 'invalid_request',
	},
	{ name: 'a publish to a bad topic', frame: '{"type":"publish","topic":".t","payload":1}', code: 'invalid_topic' },
];

interface BadFrame {
	readonly name: string;
	readonly bytes: () => Buffer[];
	readonly closeCode: number;
}

const text = (content: string) => Buffer.from(content);

/** Frames that end the connection. The relay of the test takes messages of up to 65,536 bytes. */
export const badFrames: readonly BadFrame[] = [
	{ name: 'an unmasked frame', bytes: () => [Buffer.from([0x81, 2, 0x7b, 0x7d])], closeCode: 1002 },
	{ name: 'a reserved bit', bytes: () => [clientFrame(0xc1, text('{}'))], closeCode: 1002 },
	{ name: 'an unknown opcode', bytes: () => [clientFrame(0x83, text('{}'))], closeCode: 1002 },
	{ name: 'invalid UTF-8', bytes: () => [clientFrame(0x81, Buffer.from([0x22, 0xff, 0x22]))], closeCode: 1007 },
	{ name: 'overlong UTF-8', bytes: () => [clientFrame(0x81, Buffer.from([0x22, 0xc0, 0x80, 0x22]))], closeCode: 1007 },
	{
		name: 'a surrogate in UTF-8',
		bytes: () => [clientFrame(0x81, Buffer.from([0x22, 0xed, 0xa0, 0x80, 0x22]))],
		closeCode: 1007,
	},
	{ name: 'a declared length over the limit', bytes: () => [clientFrame(0x81, Buffer.alloc(0), 65_537)], closeCode: 1009 },
	{ name: 'a declared length of 2^53', bytes: () => [clientFrame(0x81, Buffer.alloc(0), 2 ** 53)], closeCode: 1009 },
	{
		name: 'fragments that are too large together',
		bytes: () => [clientFrame(0x01, Buffer.alloc(40_000, 0x20)), clientFrame(0x00, Buffer.alloc(40_000, 0x20))],
		closeCode: 1009,
	},
	{
		name: 'a message in 10,000 fragments',
		bytes: () => [clientFrame(0x01, text(' ')), ...Array.from({ length: 10_000 }, () => clientFrame(0x00, text(' ')))],
		closeCode: 1008,
	},
	{ name: 'a continuation of nothing', bytes: () => [clientFrame(0x80, text('{}'))], closeCode: 1002 },
	{
		name: 'a text frame inside a fragmented message',
		bytes: () => [clientFrame(0x01, text('{')), clientFrame(0x81, text('}'))],
		closeCode: 1002,
	},
	{ name: 'a ping of 126 bytes', bytes: () => [clientFrame(0x89, Buffer.alloc(126))], closeCode: 1002 },
	{ name: 'a close frame of one byte', bytes: () => [clientFrame(0x88, Buffer.alloc(1))], closeCode: 1002 },
	{ name: 'a ping flood', bytes: () => Array.from({ length: 5000 }, () => clientFrame(0x89, Buffer.alloc(0))), closeCode: 1008 },
];

interface BadHandshake {
	readonly name: string;
	/** Changes the lines of a good request. */
	readonly change: (lines: string[]) => string[];
	readonly status: number;
}

const without = (name: string) => (lines: string[]) => lines.filter((line) => !line.startsWith(name));
const replaced = (name: string, line: string) => (lines: string[]) => lines.map((old) => (old.startsWith(name) ? line : old));

export const badHandshakes: readonly BadHandshake[] = [
	{ name: 'no key', change: without('Sec-WebSocket-Key'), status: 400 },
	{ name: 'a short key', change: replaced('Sec-WebSocket-Key', 'Sec-WebSocket-Key: abc'), status: 400 },
	{ name: 'version 12', change: replaced('Sec-WebSocket-Version', 'Sec-WebSocket-Version: 12'), status: 400 },
	{ name: 'another path', change: replaced('GET', 'GET /other HTTP/1.1'), status: 404 },
	{ name: 'two hosts', change: (lines) => [...lines, 'Host: evil'], status: 400 },
	{ name: 'an absolute target', change: replaced('GET', 'GET http://evil/ws HTTP/1.1'), status: 400 },
	{ name: 'a NUL in the target', change: replaced('GET', 'GET /ws%00 HTTP/1.1'), status: 400 },
	{ name: 'the method POST', change: replaced('GET', 'POST /ws HTTP/1.1'), status: 405 },
];
