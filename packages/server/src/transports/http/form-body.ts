/** Forms, as OAuth clients and existing clients sign in with: their fields as texts, of two of a name the last. */

import { RelayError } from '@pulsar-relay/protocol/errors';
import type { FastifyInstance, FastifyRequest } from 'fastify';
import type { BodyReader } from './bodies.ts';

/** The longest form, and the types of one. */
export const FORM_BYTES_MAX = 64 * 1024;
export const FORM_MEDIA_TYPES = ['application/x-www-form-urlencoded', 'multipart/form-data'];
const FORM_TYPES = /^(?:application\/x-www-form-urlencoded|multipart\/form-data)(?:;|$)/i;
/** Anybody may send forms: one with thousands of fields would take a hundred times as long to read as one of the same length with a few. */
const FIELDS_MAX = 64;
/** Of a multipart form: each field has four, and may have some more headers. */
const LINES_MAX = 8 * FIELDS_MAX;
/** A body of any other type has no fields: existing clients are told what is missing rather than what they sent. */
const OTHER_TYPES = '*';

/** Reads the bodies of a scope as forms. */
export function addFormBodies(scope: FastifyInstance, bodies: BodyReader): void {
	scope.removeAllContentTypeParsers();
	scope.addContentTypeParser(FORM_TYPES, (request: FastifyRequest, _payload, done) => {
		bodies.read(request, FORM_BYTES_MAX, (error, body) => {
			if (error !== null || body === undefined) return done(error, undefined);
			const type = request.headers['content-type'] ?? '';
			if (hasTooManyFields(type, body)) {
				return done(new RelayError('bad_request', `the form has more than ${FIELDS_MAX} fields`), undefined);
			}
			fieldsOf(type, body).then(
				(fields) => done(null, fields),
				() => done(new RelayError('bad_request', 'the form is malformed'), undefined),
			);
		});
	});
	scope.addContentTypeParser(OTHER_TYPES, (request: FastifyRequest, _payload, done) => {
		bodies.read(request, FORM_BYTES_MAX, (error) => done(error, {}));
	});
}

function hasTooManyFields(type: string, body: Buffer): boolean {
	const [separator, max] = /^multipart/i.test(type) ? ['\n', LINES_MAX] : ['&', FIELDS_MAX - 1];
	let at = -1;
	for (let count = 0; count <= max; count++) {
		at = body.indexOf(separator, at + 1);
		if (at < 0) return false;
	}
	return true;
}

async function fieldsOf(type: string, body: Buffer): Promise<Record<string, string>> {
	const fields: Record<string, string> = Object.create(null);
	const form = /^multipart/i.test(type)
		? await new Response(new Uint8Array(body), { headers: { 'content-type': type } }).formData()
		: new URLSearchParams(body.toString('utf8'));
	for (const [name, value] of form as Iterable<[string, unknown]>) if (typeof value === 'string') fields[name] = value;
	return fields;
}
