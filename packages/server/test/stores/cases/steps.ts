/** Random sequences of calls for the model cases: four topics with room for three, few keys, small numbers, so that calls meet. */

import fc from 'fast-check';
import type { AppendEntry, TopicChange } from '../../../src/ports/store.ts';
import { entry, keyed } from '../trial.ts';

export const TOPICS = ['a', 'b', 'c', 'd'];
export const TOPICS_MAX = 3;

/** One step of a sequence. `at` picks an id near one that was given out. */
export type Step =
	| { readonly kind: 'append'; readonly topic: string; readonly calls: readonly (readonly AppendEntry[])[] }
	| { readonly kind: 'read' | 'readBefore'; readonly topic: string; readonly at: number; readonly messagesMax: number }
	| { readonly kind: 'create' | 'update'; readonly topic: string; readonly change: TopicChange }
	| { readonly kind: 'delete' | 'get' | 'watch'; readonly topic: string }
	| { readonly kind: 'list'; readonly after: string | null; readonly limit: number }
	| { readonly kind: 'trim'; readonly maxAgeS: number; readonly maxMessages: number }
	| { readonly kind: 'forget'; readonly all: boolean }
	| { readonly kind: 'clock'; readonly stepMs: number }
	| { readonly kind: 'reopen' };

const topic = fc.constantFrom(...TOPICS);
const count = fc.option(fc.integer({ min: 0, max: 20 }));
const change: fc.Arbitrary<TopicChange> = fc.record(
	{
		description: fc.constantFrom(null, 'x', 'y'),
		retention: fc.record({ maxAgeS: count, maxMessages: count }, { requiredKeys: [] }),
	},
	{ requiredKeys: [] },
);
const payload = fc.json({ maxDepth: 1 });
const anEntry: fc.Arbitrary<AppendEntry> = fc.oneof(
	fc
		.record({ payload, metadata: fc.constantFrom('{}', '{"a":1}'), expiresAtMs: fc.constantFrom(0, 5) })
		.map(({ payload, ...fields }) => entry(payload, fields)),
	fc
		.tuple(payload, fc.constantFrom('k', 'l', 'm'), fc.nat(2), fc.constantFrom('f', 'f', 'g'))
		.map(([text, key, item, fingerprint]) => keyed(text, key, item, fingerprint)),
);
const at = fc.nat(600);
/** Any step. */
export const anyStep: fc.Arbitrary<Step> = fc.oneof(
	{
		weight: 8,
		arbitrary: fc.record({
			kind: fc.constant('append' as const),
			topic,
			calls: fc.array(fc.array(anEntry, { maxLength: 6 }), { minLength: 1, maxLength: 4 }),
		}),
	},
	{
		weight: 4,
		arbitrary: fc.record({
			kind: fc.constantFrom('read' as const, 'readBefore' as const),
			topic,
			at,
			messagesMax: fc.integer({ min: 1, max: 12 }),
		}),
	},
	{ weight: 2, arbitrary: fc.record({ kind: fc.constantFrom('create' as const, 'update' as const), topic, change }) },
	{ weight: 3, arbitrary: fc.record({ kind: fc.constantFrom('delete' as const, 'get' as const, 'watch' as const), topic }) },
	{
		weight: 1,
		arbitrary: fc.record({
			kind: fc.constant('list' as const),
			after: fc.constantFrom(null, 'a', 'b0'),
			limit: fc.integer({ min: 1, max: 4 }),
		}),
	},
	{
		weight: 3,
		arbitrary: fc.record({
			kind: fc.constant('trim' as const),
			maxAgeS: fc.integer({ min: 0, max: 12 }),
			maxMessages: fc.integer({ min: 0, max: 25 }),
		}),
	},
	{ weight: 1, arbitrary: fc.record({ kind: fc.constant('forget' as const), all: fc.boolean() }) },
	{
		weight: 4,
		arbitrary: fc.record({
			kind: fc.constant('clock' as const),
			stepMs: fc.oneof(fc.integer({ min: -3000, max: 9000 }), fc.nat(2)),
		}),
	},
	{ weight: 1, arbitrary: fc.record({ kind: fc.constant('reopen' as const) }) },
);
