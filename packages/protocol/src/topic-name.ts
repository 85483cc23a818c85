/**
 * The one grammar of topic names: 1 to 255 of `A-Z a-z 0-9 _ . -`, with at least one letter or digit and no leading dot.
 * Dots are for hierarchy (`jobs.europe`). Nothing in it can steer a Valkey hash slot, a file path or a log line.
 */

/** The longest topic name, in characters (all are ASCII, so also in bytes). */
export const TOPIC_NAME_LENGTH_MAX = 255;

/** The grammar as a JSON-schema compatible pattern; {@link isTopicName} and the HTTP schemas share it. */
export const TOPIC_NAME_PATTERN = '^(?=[_.-]*[A-Za-z0-9])[A-Za-z0-9_-][A-Za-z0-9_.-]{0,254}$';

const GRAMMAR = new RegExp(TOPIC_NAME_PATTERN);

/** Whether `text` is a topic name. */
export function isTopicName(text: string): boolean {
	return GRAMMAR.test(text);
}

/** Why `text` is not a topic name, as one clause without a full stop, or undefined when it is one. */
export function topicNameProblem(text: string): string | undefined {
	if (text.length === 0) return 'topic name is empty';
	if (text.length > TOPIC_NAME_LENGTH_MAX) {
		return `topic name is ${text.length} characters, limit ${TOPIC_NAME_LENGTH_MAX}`;
	}
	if (text.startsWith('.')) return 'topic name starts with a dot';
	if (!/^[A-Za-z0-9_.-]+$/.test(text)) return 'topic name may only contain letters, digits, "_", "." and "-"';
	return GRAMMAR.test(text) ? undefined : 'topic name needs at least one letter or digit';
}

/**
 * A topic as a request names it where there are accounts: a name in the caller's own namespace, or `owner/name`, where the owner is
 * a user id or a username of these characters. Neither part can contain what cursors are made of (`:` and `,`).
 */
export const TOPIC_REFERENCE_PATTERN = `^(?:[A-Za-z0-9._@+-]{1,50}/)?${TOPIC_NAME_PATTERN.slice(1)}`;

const REFERENCE = new RegExp(TOPIC_REFERENCE_PATTERN);

/** Whether `text` is a topic name or `owner/name`. */
export function isTopicReference(text: string): boolean {
	return REFERENCE.test(text);
}

/** As {@link topicNameProblem}, for a reference. */
export function topicReferenceProblem(text: string): string | undefined {
	if (REFERENCE.test(text)) return undefined;
	const slash = text.indexOf('/');
	return topicNameProblem(slash < 0 ? text : text.slice(slash + 1)) ?? 'the owner of a topic is a user id or a username';
}
