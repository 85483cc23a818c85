/**
 * Topic patterns: a name, or the beginning of one that ends in `*` (`jobs.*`, `*`). No other wildcards, so that matching is one
 * comparison and one pattern can be seen to contain another.
 */

import { isTopicReference } from '@pulsar-relay/protocol/topic-name';
import type { Action, Scope } from './principal.ts';

/** Patterns of one scope, and scopes of one key or token. */
export const SCOPE_TOPICS_MAX = 50;
export const SCOPES_MAX = 20;

/** A scope as a request names it: patterns relative to the account. */
export interface RequestedScope {
	readonly actions: readonly Action[];
	readonly topics: readonly string[];
}

/** Scopes as their owner could have written them: its own topics are bare. */
export function shownScopes(accountId: string, scopes: readonly Scope[]): readonly RequestedScope[] {
	const own = `${accountId}/`;
	return scopes.map(({ actions, topics }) => ({
		actions,
		topics: topics.map((pattern) => (pattern.startsWith(own) ? pattern.slice(own.length) : pattern)),
	}));
}

/** Whether a text is a pattern, `owner/jobs.*` included. */
export function isTopicPattern(text: string): boolean {
	if (!text.endsWith('*')) return isTopicReference(text);
	// What stands before the star must be able to begin a name.
	return isTopicReference(`${text.slice(0, -1)}a`);
}

/** Whether a pattern matches a name; both as they are in the store. */
export function matches(pattern: string, topic: string): boolean {
	return pattern.endsWith('*') ? topic.startsWith(pattern.slice(0, -1)) : topic === pattern;
}

/** Whether one of the scopes allows an action on a topic. */
export function scopesAllow(scopes: readonly Scope[], action: Action, topic: string): boolean {
	return scopes.some(({ actions, topics }) => actions.includes(action) && topics.some((pattern) => matches(pattern, topic)));
}

/** The first of the inner scopes' parts that no outer scope contains, or undefined when all are contained. */
export function uncovered(outer: readonly Scope[], inner: readonly Scope[]): { action: Action; topic: string } | undefined {
	for (const { actions, topics } of inner) {
		for (const action of actions) {
			for (const topic of topics) {
				const covered = outer.some(
					(scope) => scope.actions.includes(action) && scope.topics.some((wide) => contains(wide, topic)),
				);
				if (!covered) return { action, topic };
			}
		}
	}
	return undefined;
}

/** Whether everything that `narrow` matches is matched by `wide`. */
function contains(wide: string, narrow: string): boolean {
	if (!narrow.endsWith('*')) return matches(wide, narrow);
	return wide.endsWith('*') && narrow.slice(0, -1).startsWith(wide.slice(0, -1));
}
