/** Keeps secrets out of messages, also where they do not belong. */

/**
 * A text without what a URL may hide in it, a user with a password and a query: for messages about values that need not be secrets, but
 * may have been mistaken for URLs.
 */
export function masked(text: string): string {
	return text.replace(/^([a-z][a-z0-9+.-]*:\/\/)?.*@/is, '$1***@').replace(/\?.*$/s, '?***');
}
