/** What the routes of accounts, tokens and keys share. */

import type { Problem } from '@pulsar-relay/protocol/errors';
import { isTopicPattern, type RequestedScope } from '../../../auth/scopes.ts';
import { invalid } from '../validation.ts';

export const NO_CONTENT = { type: 'null', description: 'Done' } as const;

/** A time as existing clients read it. */
export function timestamp(ms: number): string {
	return new Date(ms).toISOString();
}

export function timestampOrNull(ms: number | null): string | null {
	return ms === null ? null : timestamp(ms);
}

/** Throws `invalid_request` for scopes with what is no topic pattern. */
export function checkPatterns(scopes: readonly RequestedScope[]): void {
	const problems: Problem[] = [];
	for (const [i, { topics }] of scopes.entries()) {
		for (const [j, pattern] of topics.entries()) {
			if (isTopicPattern(pattern)) continue;
			const msg = 'Input should be a topic name, or the beginning of one and a star';
			problems.push({ type: 'string_pattern_mismatch', loc: ['body', 'scopes', i, 'topics', j], msg });
		}
	}
	if (problems.length > 0) throw invalid(problems);
}
