/**
 * What every answer tells browsers. Few enough to be written here: they are on the hot path, and @fastify/helmet sends a dozen, most
 * of which say something about pages. The only pages are those at `/docs`, whose own policy takes the place of this one.
 */

/** Answers are data: no browser is to guess that one is a page, to show it in a frame, or to keep it. */
export const SECURITY_HEADERS: Readonly<Record<string, string>> = {
	'x-content-type-options': 'nosniff',
	'content-security-policy': "default-src 'none'; connect-src 'self'; frame-ancestors 'none'",
	'cache-control': 'no-store',
};

/** Over TLS, also that the relay is to be reached by nothing else for a year. */
export const TLS_SECURITY_HEADERS: Readonly<Record<string, string>> = {
	...SECURITY_HEADERS,
	'strict-transport-security': 'max-age=31536000',
};
