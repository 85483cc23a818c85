/**
 * Validation: a TypeBox schema compiled once by Ajv, and what it finds wrong in the form existing clients know, without any of
 * the input in it.
 */

import { type Problem, RelayError } from '@pulsar-relay/protocol/errors';
import {
	TOPIC_NAME_PATTERN,
	TOPIC_REFERENCE_PATTERN,
	topicNameProblem,
	topicReferenceProblem,
} from '@pulsar-relay/protocol/topic-name';
import { Ajv, type ErrorObject, type ValidateFunction } from 'ajv';

/** A place in a request: `['body', 'messages', 3]`. */
export type Location = readonly (string | number)[];

/** Checks a value. Null when it is valid; then defaults are filled in and decimal strings of integer fields are numbers. */
export type Validate = (value: unknown, at: Location) => RelayError | null;

/** Problems told of one request; a client that breaks more than so many fields has enough to do. */
const PROBLEMS_MAX = 20;
/** Values up to so many parts are searched for all their problems, larger ones only for the first: the search costs a list. */
const PARTS_FOR_ALL_PROBLEMS = 1000;
/** The longest name from a request that a problem's place repeats. */
const NAME_LENGTH_MAX = 64;
const DECIMAL = /^-?[0-9]{1,16}$/;

const COMMON = { allowUnionTypes: true, useDefaults: true, verbose: true } as const;
/** `documented`: members of a field's schema for the documentation only, where the route itself checks them, with answers that existing clients know. */
const VOCABULARY = ['documented'];
const firstProblem = new Ajv(COMMON).addVocabulary(VOCABULARY);
const everyProblem = new Ajv({ ...COMMON, allErrors: true }).addVocabulary(VOCABULARY);

/** Compiles a schema. Integer fields of its top level also take decimal strings, as existing clients and all queries send them. */
export function compileValidator(schema: object): Validate {
	const validate = firstProblem.compile(schema);
	let thorough: ValidateFunction | null = null;
	const integers = integerFields(schema);
	return (value, at) => {
		readDecimals(value, integers);
		if (validate(value)) return null;
		let { errors } = validate;
		if (partsLeft(value, PARTS_FOR_ALL_PROBLEMS) > 0) {
			// Compiled at the first mistake: most schemas never see one.
			thorough ??= everyProblem.compile(schema);
			thorough(value);
			({ errors } = thorough);
		}
		return invalid(problemsOf(errors ?? [], at));
	};
}

/** The error that tells of problems: `invalid_topic` when topic names are all that is wrong. */
export function invalid(problems: readonly Problem[]): RelayError {
	const told = problems.slice(0, PROBLEMS_MAX);
	const more = problems.length > 1 ? ` (and ${problems.length - 1} more)` : '';
	const message = `${told[0] === undefined ? 'the request is not valid' : inWords(told[0])}${more}`;
	const topicsOnly = problems.every((problem) => problem.type === TOPIC_PROBLEM);
	return new RelayError(topicsOnly ? 'invalid_topic' : 'invalid_request', message, { problems: told });
}

function inWords({ type, loc, msg }: Problem): string {
	if (type === TOPIC_PROBLEM) return msg.slice(TOPIC_PROBLEM_PREFIX.length);
	const place = loc.length > 1 ? loc.slice(1).join('.') : loc.join('.');
	return `${place}: ${msg.charAt(0).toLowerCase()}${msg.slice(1)}`;
}

/** The error for a request without a body. */
export function missingBody(): RelayError {
	return invalid([{ type: 'missing', loc: ['body'], msg: 'Field required' }]);
}

/** The names of the top-level fields that are integers. */
function integerFields(schema: object): readonly string[] {
	const { properties = {} } = schema as { readonly properties?: Readonly<Record<string, { readonly type?: unknown }>> };
	return Object.keys(properties).filter((name) => [properties[name]?.type].flat().includes('integer'));
}

function readDecimals(value: unknown, fields: readonly string[]): void {
	if (fields.length === 0 || typeof value !== 'object' || value === null) return;
	const record = value as Record<string, unknown>;
	for (const field of fields) {
		const text = record[field];
		if (typeof text === 'string' && DECIMAL.test(text) && Number.isSafeInteger(Number(text))) record[field] = Number(text);
	}
}

/** What is left of `budget` after taking one off for each part of a value; 0 or less when it has as many or more. */
function partsLeft(value: unknown, budget: number): number {
	let left = budget - 1;
	if (typeof value !== 'object' || value === null) return left;
	for (const key in value) {
		left = partsLeft((value as Record<string, unknown>)[key], left);
		if (left <= 0) break;
	}
	return left;
}

function problemsOf(errors: readonly ErrorObject[], at: Location): Problem[] {
	const problems = new Map<string, Problem>();
	for (const error of errors) {
		// Of a value that fits none of several forms, the first thing that is wrong with it is told, and not that it fits none.
		if (error.keyword === 'anyOf') continue;
		const problem = problemOf(error, at);
		const place = problem.loc.join('\0');
		const known = problems.get(place);
		if (known === undefined || (known.type.endsWith('_type') && !problem.type.endsWith('_type'))) problems.set(place, problem);
	}
	return [...problems.values()];
}

const TOPIC_PROBLEMS: ReadonlyMap<unknown, (text: string) => string | undefined> = new Map([
	[TOPIC_NAME_PATTERN, topicNameProblem],
	[TOPIC_REFERENCE_PATTERN, topicReferenceProblem],
]);

/** How the problem of a bad topic name looks. */
const TOPIC_PROBLEM = 'value_error';
const TOPIC_PROBLEM_PREFIX = 'Value error, ';

function problemOf({ keyword, params, data, instancePath }: ErrorObject, at: Location): Problem {
	const loc = [...at, ...placeOf(instancePath)];
	const size = (limit: unknown) =>
		`${limit} ${limit === 1 ? 'item' : 'items'} after validation, not ${Array.isArray(data) ? data.length : 0}`;
	switch (keyword) {
		case 'required':
			return { type: 'missing', loc: [...loc, params['missingProperty']], msg: 'Field required' };
		case 'type':
			return { loc, ...typeProblem(params['type'], data) };
		case 'minLength':
			return { type: 'string_too_short', loc, msg: `String should have at least ${params['limit']} characters` };
		case 'maxLength':
			return { type: 'string_too_long', loc, msg: `String should have at most ${params['limit']} characters` };
		case 'minItems':
			return { type: 'too_short', loc, msg: `List should have at least ${size(params['limit'])}` };
		case 'maxItems':
			return { type: 'too_long', loc, msg: `List should have at most ${size(params['limit'])}` };
		case 'maxProperties':
			return {
				type: 'too_long',
				loc,
				msg: `Dictionary should have at most ${params['limit']} items after validation, not ${Object.keys(data as object).length}`,
			};
		case 'minimum':
			return { type: 'greater_than_equal', loc, msg: `Input should be greater than or equal to ${params['limit']}` };
		case 'maximum':
			return { type: 'less_than_equal', loc, msg: `Input should be less than or equal to ${params['limit']}` };
		case 'pattern': {
			const problemOf = TOPIC_PROBLEMS.get(params['pattern']);
			const reason = typeof data === 'string' ? problemOf?.(data) : undefined;
			if (reason !== undefined) return { type: TOPIC_PROBLEM, loc, msg: `${TOPIC_PROBLEM_PREFIX}${reason}` };
			return { type: 'string_pattern_mismatch', loc, msg: 'String should have the form of this field' };
		}
		default:
			return { type: 'literal_error', loc, msg: 'Input should be one of the values of this field' };
	}
}

const TYPE_PROBLEMS: ReadonlyMap<unknown, { readonly type: string; readonly msg: string }> = new Map([
	['string', { type: 'string_type', msg: 'Input should be a valid string' }],
	['object', { type: 'dict_type', msg: 'Input should be a valid dictionary' }],
	['array', { type: 'list_type', msg: 'Input should be a valid list' }],
	['boolean', { type: 'bool_type', msg: 'Input should be a valid boolean' }],
	['integer', { type: 'int_type', msg: 'Input should be a valid integer' }],
]);

function typeProblem(expected: unknown, data: unknown): { readonly type: string; readonly msg: string } {
	const [wanted] = [expected].flat();
	if (data === undefined) return { type: 'missing', msg: 'Field required' };
	if (wanted === 'integer' && typeof data === 'number') {
		return { type: 'int_from_float', msg: 'Input should be a valid integer, got a number with a fractional part' };
	}
	if (wanted === 'integer' && typeof data === 'string') {
		return { type: 'int_parsing', msg: 'Input should be a valid integer, unable to parse string as an integer' };
	}
	return TYPE_PROBLEMS.get(wanted) ?? { type: 'value_type', msg: 'Input should be of the type of this field' };
}

/** The path of a JSON pointer. Names may be the client's, as those of metadata are: cut, and without control characters. */
function placeOf(pointer: string): (string | number)[] {
	return pointer
		.split('/')
		.slice(1)
		.map((part) => {
			if (/^[0-9]{1,9}$/.test(part)) return Number(part);
			const name = part.replaceAll('~1', '/').replaceAll('~0', '~');
			return name
				.slice(0, NAME_LENGTH_MAX)
				.toWellFormed()
				.replace(/\p{Cc}/gu, '\u{fffd}');
		});
}
