/** Distributions: every value is in the buckets at or above it. */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { Distribution } from '../../../src/ops/distribution.ts';

test('each bucket has what is at or below its bound; sum and count have all', () => {
	const bounds = [0.1, 1, 5];
	fc.assert(
		fc.property(fc.array(fc.oneof(fc.constantFrom(0, 0.1, 1, 5), fc.double({ min: 0, max: 10, noNaN: true }))), (values) => {
			const distribution = new Distribution(bounds);
			for (const value of values) distribution.add(value);
			const samples = distribution.samples('d', { a: 'b' });
			const value = (name: string, le?: string) =>
				samples.find((sample) => sample.metricName === name && sample.labels['le'] === le)?.value;
			for (const bound of bounds) assert.equal(value('d_bucket', String(bound)), values.filter((each) => each <= bound).length);
			assert.equal(value('d_bucket', '+Inf'), values.length);
			assert.equal(value('d_count'), values.length);
			assert.equal(
				value('d_sum'),
				values.reduce((sum, each) => sum + each, 0),
			);
			assert(samples.every((sample) => sample.labels['a'] === 'b'));
			assert.equal(distribution.count, values.length);
		}),
	);
});
