/**
 * Arbitraries of JSON texts: not of values, since the scanner must find and keep each way of writing one.
 */

import fc from 'fast-check';

/** Whitespace of JSON, often none. */
export const space = fc.array(fc.constantFrom(' ', '\t', '\n', '\r'), { maxLength: 2 }).map((marks) => marks.join(''));

const hexDigit = (digit: string) => fc.constantFrom(digit.toLowerCase(), digit.toUpperCase());

const unicodeEscape = (unit: number) =>
	fc.tuple(...[...unit.toString(16).padStart(4, '0')].map(hexDigit)).map((digits) => `\\u${digits.join('')}`);

const escapedCharacter = fc.oneof(
	fc.constantFrom('\\"', '\\\\', '\\/', '\\b', '\\f', '\\n', '\\r', '\\t'),
	fc.oneof(fc.integer({ min: 0, max: 0xd7ff }), fc.integer({ min: 0xe000, max: 0xffff })).chain(unicodeEscape),
	fc
		.integer({ min: 0x10000, max: 0x10ffff })
		.map((point) => String.fromCodePoint(point))
		.chain((pair) => fc.tuple(unicodeEscape(pair.charCodeAt(0)), unicodeEscape(pair.charCodeAt(1))))
		.map(([high, low]) => high + low),
);

/** The text of a JSON string, quotes included. */
export const stringText = fc
	.array(
		fc.oneof(
			fc.string({ unit: 'grapheme', maxLength: 6 }).map((plain) => JSON.stringify(plain).slice(1, -1)),
			escapedCharacter,
		),
		{
			maxLength: 4,
		},
	)
	.map((parts) => `"${parts.join('')}"`);

/** The given ASCII text as a JSON string, each character written as itself or as an escape. */
export const writingOf = (name: string) =>
	fc
		.tuple(
			...[...name].map((character) =>
				fc.oneof({ weight: 4, arbitrary: fc.constant(character) }, unicodeEscape(character.charCodeAt(0))),
			),
		)
		.map((parts) => `"${parts.join('')}"`);

const numberText = fc.stringMatching(/^-?(0|[1-9][0-9]{0,20})(\.[0-9]{1,5})?([eE][+-]?[0-9]{1,3})?$/);

/** The text of an array with the given element texts, whitespace around them at random. */
export const arrayText = (elements: fc.Arbitrary<readonly string[]>) =>
	elements.chain((texts) =>
		texts.length === 0
			? space.map((inner) => `[${inner}]`)
			: fc
					.tuple(...texts.map((text) => fc.tuple(space, space).map(([before, after]) => before + text + after)))
					.map((padded) => `[${padded.join(',')}]`),
	);

/** A member as it is written: the key's text with its quotes, and the value's text. */
export type MemberText = readonly [key: string, value: string];

/** The text of an object with the given members, whitespace around all tokens at random. */
export const objectText = (members: readonly MemberText[]) =>
	members.length === 0
		? space.map((inner) => `{${inner}}`)
		: fc
				.tuple(
					...members.map(([key, value]) =>
						fc.tuple(space, space, space, space).map(([a, b, c, d]) => `${a}${key}${b}:${c}${value}${d}`),
					),
				)
				.map((padded) => `{${padded.join(',')}}`);

/** The text of any JSON value, without whitespace around it. */
export const valueText: fc.Arbitrary<string> = fc.letrec<{ value: string }>((tie) => ({
	value: fc.oneof(
		{ depthSize: 'small', withCrossShrink: true },
		fc.constantFrom('null', 'true', 'false'),
		numberText,
		stringText,
		arrayText(fc.array(tie('value'), { maxLength: 4 })),
		fc.array(fc.tuple(stringText, tie('value')), { maxLength: 4 }).chain(objectText),
	),
})).value;
