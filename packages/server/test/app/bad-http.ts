/**
 * Requests that no relay should take, as data: what is sent, and the status and code of the answer. Null where the server can
 * only close. They are sent over plain TCP, each on a connection of its own.
 */

import { postBytes } from '../support/raw-http.ts';

export interface BadCase {
	readonly name: string;
	readonly bytes: string | Uint8Array;
	readonly status: number;
	readonly code: string;
}

const PUBLISH = '/api/v1/messages';
const GOOD = '{"topic":"bad-input","payload":1}';

function raw(name: string, lines: readonly string[], body = '', status = 400, code = 'bad_request'): BadCase {
	return { name, bytes: `${lines.join('\r\n')}\r\n\r\n${body}`, status, code };
}

/** What is wrong below HTTP's semantics: request smuggling, ambiguities, overflows. */
export const MALFORMED_HTTP: readonly BadCase[] = [
	raw('two Host headers', ['GET /health HTTP/1.1', 'Host: a', 'host: b']),
	raw('no Host header', ['GET /health HTTP/1.1', 'Accept: */*']),
	raw('an absolute-form target', ['GET http://elsewhere/health HTTP/1.1', 'Host: relay']),
	raw('an asterisk target', ['OPTIONS * HTTP/1.1', 'Host: relay']),
	raw('a NUL in the path', ['GET /api/v1/topics/a%00b HTTP/1.1', 'Host: relay']),
	raw('a NUL in the query', ['GET /api/v1/topics?after=%00 HTTP/1.1', 'Host: relay']),
	raw('a broken percent-encoding', ['GET /api/v1/topics/%zz HTTP/1.1', 'Host: relay']),
	raw('a percent-encoding of no UTF-8', ['GET /api/v1/topics/%c0%80 HTTP/1.1', 'Host: relay']),
	raw('two Authorization headers', ['GET /health HTTP/1.1', 'Host: relay', 'Authorization: Bearer a', 'Authorization: Bearer b']),
	raw(
		'two Content-Type headers',
		[
			`POST ${PUBLISH} HTTP/1.1`,
			'Host: relay',
			'Content-Type: application/json',
			'Content-Type: text/plain',
			'Content-Length: 33',
		],
		GOOD,
	),
	raw(
		'two Idempotency-Key headers',
		[
			`POST ${PUBLISH} HTTP/1.1`,
			'Host: relay',
			'Content-Type: application/json',
			'Idempotency-Key: a',
			'Idempotency-Key: b',
			'Content-Length: 33',
		],
		GOOD,
	),
	raw(
		'more headers than are read',
		['GET /health HTTP/1.1', 'Host: relay', ...Array.from({ length: 3000 }, (_, i) => `X-${i}: 1`)],
		'',
		431,
		'headers_too_large',
	),
	raw(
		'the second Host beyond the headers that are read',
		['GET /health HTTP/1.1', 'Host: relay', ...Array.from({ length: 140 }, (_, i) => `X-${i}: 1`), 'Host: b'],
		'',
		431,
		'headers_too_large',
	),
	raw(
		'headers that are too large',
		['GET /health HTTP/1.1', 'Host: relay', `X-Long: ${'x'.repeat(40_000)}`],
		'',
		431,
		'headers_too_large',
	),
	raw('a target that is too large', [`GET /${'x'.repeat(40_000)} HTTP/1.1`, 'Host: relay'], '', 431, 'headers_too_large'),
	raw(
		'both Content-Length and Transfer-Encoding',
		[
			`POST ${PUBLISH} HTTP/1.1`,
			'Host: relay',
			'Content-Type: application/json',
			'Content-Length: 5',
			'Transfer-Encoding: chunked',
		],
		'0\r\n\r\n',
	),
	raw(
		'two Content-Length headers',
		[`POST ${PUBLISH} HTTP/1.1`, 'Host: relay', 'Content-Type: application/json', 'Content-Length: 33', 'Content-Length: 32'],
		GOOD,
	),
	raw(
		'two equal Content-Length headers',
		[`POST ${PUBLISH} HTTP/1.1`, 'Host: relay', 'Content-Type: application/json', 'Content-Length: 33', 'Content-Length: 33'],
		GOOD,
	),
	raw(
		'a Content-Length with a sign',
		[`POST ${PUBLISH} HTTP/1.1`, 'Host: relay', 'Content-Type: application/json', 'Content-Length: +33'],
		GOOD,
	),
	raw(
		'a hexadecimal Content-Length',
		[`POST ${PUBLISH} HTTP/1.1`, 'Host: relay', 'Content-Type: application/json', 'Content-Length: 0x21'],
		GOOD,
	),
	raw(
		'a Content-Length of 2^64',
		[`POST ${PUBLISH} HTTP/1.1`, 'Host: relay', 'Content-Type: application/json', 'Content-Length: 18446744073709551616'],
		GOOD,
	),
	raw(
		'an unknown transfer encoding',
		[`POST ${PUBLISH} HTTP/1.1`, 'Host: relay', 'Content-Type: application/json', 'Transfer-Encoding: xchunked'],
		'0\r\n\r\n',
	),
	raw(
		'chunked, but not last',
		[`POST ${PUBLISH} HTTP/1.1`, 'Host: relay', 'Content-Type: application/json', 'Transfer-Encoding: chunked, identity'],
		'0\r\n\r\n',
	),
	raw('a space before a colon', ['GET /health HTTP/1.1', 'Host : relay']),
	raw('a folded header', ['GET /health HTTP/1.1', 'Host: relay', 'X-Folded: a', ' b']),
	raw('a NUL in a header', ['GET /health HTTP/1.1', 'Host: relay', 'X-Nul: a\0b']),
	raw('a bare CR in a header', ['GET /health HTTP/1.1', 'Host: relay', 'X-Cr: a\rb']),
	raw('an unknown HTTP version', ['GET /health HTTP/3.0', 'Host: relay']),
	raw('an unknown method', ['FROB /health HTTP/1.1', 'Host: relay']),
	raw('the preface of HTTP/2', ['PRI * HTTP/2.0', ''], 'SM\r\n\r\n'),
	raw('no HTTP at all', ['\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03']),
	raw(
		'a chunk size that is no number',
		[`POST ${PUBLISH} HTTP/1.1`, 'Host: relay', 'Content-Type: application/json', 'Transfer-Encoding: chunked'],
		'zz\r\n',
	),
	raw(
		'a chunk longer than its size',
		[`POST ${PUBLISH} HTTP/1.1`, 'Host: relay', 'Content-Type: application/json', 'Transfer-Encoding: chunked'],
		'3\r\n{"topic"\r\n0\r\n\r\n',
	),
	raw(
		'chunk extensions that are too large',
		[`POST ${PUBLISH} HTTP/1.1`, 'Host: relay', 'Content-Type: application/json', 'Transfer-Encoding: chunked'],
		`1;${'x'.repeat(20_000)}\r\n{\r\n`,
		413,
		'payload_too_large',
	),
];

function body(name: string, content: string | Uint8Array, code = 'invalid_json', status = 422): BadCase {
	return { name, bytes: postBytes(PUBLISH, content), status, code };
}

function headers(name: string, lines: readonly string[], status: number, code: string): BadCase {
	const head = [`POST ${PUBLISH} HTTP/1.1`, 'Host: relay', `Content-Length: ${GOOD.length}`, ...lines];
	return { name, bytes: `${head.join('\r\n')}\r\n\r\n${GOOD}`, status, code };
}

const latin1 = (text: string) => Buffer.from(text, 'latin1');
const payload = (text: string) => `{"topic":"bad-input","payload":${text}}`;

/** What is wrong with a publish that HTTP itself lets pass. */
export const BAD_PUBLISHES: readonly BadCase[] = [
	body('nothing', '', 'invalid_request'),
	body('only whitespace', ' \n '),
	body('half an object', '{"topic":"bad-input","payload"'),
	body('a trailing comma', '{"topic":"bad-input","payload":1,}'),
	body('a comment', '{"topic":"bad-input","payload":1/* 2 */}'),
	body('single quotes', "{'topic':'bad-input','payload':1}"),
	body('NaN', payload('NaN')),
	body('Infinity', payload('-Infinity')),
	body('a leading zero', payload('01')),
	body('a lone minus', payload('-')),
	body('two documents', `${GOOD}${GOOD}`),
	body('two byte order marks', `\u{feff}\u{feff}${GOOD}`),
	body('a byte order mark at the end', `${GOOD}\u{feff}`),
	body('a vertical tab as whitespace', `\v${GOOD}`),
	body('a raw line break in a string', payload('"a\nb"')),
	body('an unpaired high surrogate', payload('"\\ud800"')),
	body('an unpaired low surrogate in a key', payload('{"\\udc00":1}')),
	body('a lone continuation byte', latin1(payload('"\x80"'))),
	body('an overlong NUL', latin1(payload('"\xc0\x80"'))),
	body('a surrogate in UTF-8', latin1(payload('"\xed\xa0\x80"'))),
	body('a code point above the last', latin1(payload('"\xf4\x90\x80\x80"'))),
	body('a truncated sequence', latin1(payload('"\xe2\x82"'))),
	body('nesting 65 deep', payload('['.repeat(65) + ']'.repeat(65)), 'payload_too_deep'),
	body('nesting 100,000 deep', payload('['.repeat(100_000) + ']'.repeat(100_000)), 'payload_too_deep'),
	body('nesting 100,000 deep that is never closed', payload('{"a":'.repeat(100_000)), 'payload_too_deep'),
	body('an array', '[]', 'invalid_request'),
	body('a string', '"topic"', 'invalid_request'),
	body('null', 'null', 'invalid_request'),
	body('no topic', '{"payload":1}', 'invalid_request'),
	body('no payload', '{"topic":"bad-input"}', 'invalid_request'),
	body('a topic that is a number', '{"topic":1,"payload":1}', 'invalid_request'),
	body('a topic that is __proto__ in an object', '{"topic":{"__proto__":"bad-input"},"payload":1}', 'invalid_request'),
	body('a topic only below __proto__', '{"__proto__":{"topic":"bad-input"},"payload":1}', 'invalid_request'),
	...[
		'',
		'.',
		'..',
		'.hidden',
		'---',
		'a b',
		'a/b',
		'a:b',
		'a,b',
		'a*',
		'{a}',
		'a\\u0000',
		'a\\n',
		'\\u2028',
		'tópic',
		'x'.repeat(256),
	].map((topic) => body(`the topic ${JSON.stringify(topic.slice(0, 12))}`, `{"topic":"${topic}","payload":1}`, 'invalid_topic')),
	...['0', '-1', '1.5', '1e400', 'true', '"soon"', '"1.5"', '[]', '99999999999999999999'].map((ttl) =>
		body(`a ttl of ${ttl}`, `{"topic":"bad-input","payload":1,"ttl":${ttl}}`, 'invalid_request'),
	),
	...['[]', '"a"', '{"a":1}', '{"a":null}', '{"a":{}}', '{"a\\nb":1}', '{"__proto__":1}'].map((metadata) =>
		body(`metadata of ${metadata}`, `{"topic":"bad-input","payload":1,"metadata":${metadata}}`, 'invalid_request'),
	),
	headers('no content type', [], 415, 'unsupported_media_type'),
	headers('a form', ['Content-Type: application/x-www-form-urlencoded'], 415, 'unsupported_media_type'),
	headers('plain text', ['Content-Type: text/plain'], 415, 'unsupported_media_type'),
	headers('a multipart form', ['Content-Type: multipart/form-data; boundary=x'], 415, 'unsupported_media_type'),
	headers('NDJSON on the single route', ['Content-Type: application/x-ndjson'], 415, 'unsupported_media_type'),
	headers('a content type that is none', ['Content-Type: ;;;'], 415, 'unsupported_media_type'),
	headers('a compressed body', ['Content-Type: application/json', 'Content-Encoding: gzip'], 415, 'unsupported_media_type'),
	headers('a content type that only begins like JSON', ['Content-Type: application/jsonp'], 415, 'unsupported_media_type'),
	headers('an empty idempotency key', ['Content-Type: application/json', 'Idempotency-Key: '], 400, 'bad_request'),
	headers('an idempotency key with a space', ['Content-Type: application/json', 'Idempotency-Key: a b'], 400, 'bad_request'),
	headers('an idempotency key beyond ASCII', ['Content-Type: application/json', 'Idempotency-Key: \xe9'], 400, 'bad_request'),
	headers(
		'an idempotency key of 256 characters',
		['Content-Type: application/json', `Idempotency-Key: ${'k'.repeat(256)}`],
		400,
		'bad_request',
	),
];
