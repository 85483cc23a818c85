import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { isTopicName, TOPIC_NAME_LENGTH_MAX, TOPIC_NAME_PATTERN, topicNameProblem } from '../src/topic-name.ts';

/** The grammar once more, without a regular expression. */
function fitsGrammar(text: string): boolean {
	const alphanumeric = (character: string) =>
		(character >= '0' && character <= '9') || (character >= 'A' && character <= 'Z') || (character >= 'a' && character <= 'z');
	const characters = [...text];
	return (
		characters.length >= 1 &&
		characters.length <= 255 &&
		characters[0] !== '.' &&
		characters.every((character) => alphanumeric(character) || '_.-'.includes(character)) &&
		characters.some(alphanumeric)
	);
}

const likely = fc.string({
	unit: fc.constantFrom('a', 'Z', '0', '9', '_', '.', '-', '/', ':', ',', ' ', 'é', '\n'),
	maxLength: 6,
});
const marks = fc.string({ unit: fc.constantFrom('_', '.', '-', 'x'), maxLength: 300 });
const anyText = fc.oneof(likely, marks, fc.string({ unit: 'binary' }), fc.string({ unit: 'grapheme-ascii', maxLength: 300 }));

describe('a topic name', () => {
	for (const name of [
		'a',
		'Z',
		'0',
		'jobs.europe',
		'_private',
		'-1',
		'_._a',
		'a.',
		'a..b',
		'__proto__',
		'constructor',
		'last',
		'1-0',
		'a'.repeat(255),
		`${'_'.repeat(254)}a`,
	]) {
		it(`may be ${name.slice(0, 40)} (${name.length})`, () => {
			assert.equal(isTopicName(name), true);
			assert.equal(topicNameProblem(name), undefined);
		});
	}

	for (const [text, problem] of [
		['', /empty/],
		['a'.repeat(256), /256 characters, limit 255/],
		['.', /dot/],
		['..', /dot/],
		['.hidden', /dot/],
		['../../etc/passwd', /dot/],
		['_', /letter or digit/],
		['-', /letter or digit/],
		['-._-', /letter or digit/],
		['_'.repeat(255), /letter or digit/],
		['a b', /may only contain/],
		[' a', /may only contain/],
		['a\n', /may only contain/],
		['\na', /may only contain/],
		['a\0', /may only contain/],
		['a/b', /may only contain/],
		['a\\b', /may only contain/],
		['a:b', /may only contain/],
		['a,b', /may only contain/],
		['{a}', /may only contain/],
		['a*', /may only contain/],
		['a%2e', /may only contain/],
		['größe', /may only contain/],
		['\u0430', /may only contain/],
		['\uff41', /may only contain/],
		['\u0661', /may only contain/],
		['a\u200b', /may only contain/],
		['\u212a', /may only contain/],
		['😀', /may only contain/],
	] as const) {
		it(`may not be ${JSON.stringify(text.slice(0, 40))} (${text.length})`, () => {
			assert.equal(isTopicName(text), false);
			assert.match(topicNameProblem(text) ?? '', problem);
		});
	}

	it('is what the grammar says and nothing else', () => {
		fc.assert(
			fc.property(anyText, (text) => assert.equal(isTopicName(text), fitsGrammar(text))),
			{ numRuns: 10_000 },
		);
	});

	it('has a problem named exactly when it is none', () => {
		fc.assert(
			fc.property(anyText, (text) => {
				const problem = topicNameProblem(text);
				assert.equal(problem === undefined, isTopicName(text));
				if (problem !== undefined) assert.match(problem, /^topic name .*[^.]$/);
			}),
			{ numRuns: 10_000 },
		);
	});

	it('has the same pattern for schemas, which compile it with the u flag', () => {
		const schemaPattern = new RegExp(TOPIC_NAME_PATTERN, 'u');
		fc.assert(fc.property(anyText, (text) => assert.equal(schemaPattern.test(text), isTopicName(text))));
	});

	it('may be 255 characters long, not 256', () => {
		assert.equal(TOPIC_NAME_LENGTH_MAX, 255);
		assert.equal(isTopicName('x'.repeat(TOPIC_NAME_LENGTH_MAX)), true);
		assert.equal(isTopicName('x'.repeat(TOPIC_NAME_LENGTH_MAX + 1)), false);
	});
});
