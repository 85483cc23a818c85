/** JSON bodies as values, for the routes whose bodies are not payloads. Payloads are never parsed (I6): see publication.ts. */

import { isUtf8 } from 'node:buffer';
import { RelayError } from '@pulsar-relay/protocol/errors';
import { type ScanFailure, scanDocument } from '@pulsar-relay/protocol/json-scan';

/** The error for a text that the scanner refused and that began at `start`. */
export function scanError(failure: ScanFailure, start: number, depthMax: number): RelayError {
	if (failure.status === 'too_deep') return new RelayError('payload_too_deep', `the JSON nests deeper than ${depthMax} levels`);
	const at = failure.at - start;
	return new RelayError('invalid_json', `not well-formed JSON at byte ${at}`, {
		problems: [{ type: 'json_invalid', loc: ['body', at], msg: 'JSON decode error' }],
	});
}

/** The error for bytes that are not UTF-8. */
export function encodingError(): RelayError {
	return new RelayError('invalid_json', 'the text is not UTF-8', {
		problems: [{ type: 'json_invalid', loc: ['body'], msg: 'JSON decode error: not UTF-8' }],
	});
}

/**
 * Parses a body. A key `__proto__` becomes a property like any other, of that object only.
 *
 * @throws RelayError `invalid_json` or `payload_too_deep`
 */
export function parseJsonBody(body: Buffer, depthMax: number): unknown {
	if (!isUtf8(body)) throw encodingError();
	const scan = scanDocument(body, 0, body.byteLength, depthMax);
	if (scan.status !== 'ok') throw scanError(scan, 0, depthMax);
	return JSON.parse(body.toString('utf8'));
}
