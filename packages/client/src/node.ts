/** For back ends: cursors in a file, and scoped tokens for pages. */

import { readFile, rename, writeFile } from 'node:fs/promises';
import { systemClock } from './clock.ts';
import type { CursorStore } from './cursor-store.ts';
import { RelayError } from './errors.ts';
import { Requests } from './requests.ts';
import { TokenSource } from './token-source.ts';

/** What a token may do: `publish`, `subscribe` or both, on topics or their beginnings (`jobs.*`). */
export interface Scope {
	readonly actions: readonly ('publish' | 'subscribe')[];
	readonly topics: readonly string[];
}

export interface ScopedToken {
	readonly token: string;
	/** Seconds for which it is good. */
	readonly expiresInS: number;
}

/**
 * Mints a token that a page may have: it can do no more than its scopes say, and expires within the hour. Call it in a route of your back end, after
 * you know who asks, and give what it returns to the `token` function of the page. Rejects with a {@link RelayError}.
 *
 * @param credential an API key, or an access token, of the account that the topics belong to
 */
export async function mintScopedToken(
	url: string | URL,
	credential: string,
	scopes: readonly Scope[],
	{ expiresInS }: { readonly expiresInS?: number } = {},
): Promise<ScopedToken> {
	const requests = new Requests(`${url}`.replace(/\/+$/, ''), new TokenSource(credential, systemClock));
	const answer = await requests.text('/auth/token/scoped', {
		method: 'POST',
		headers: { 'content-type': 'application/json' },
		body: JSON.stringify({ scopes, ...(expiresInS === undefined ? {} : { expires_in: expiresInS }) }),
	});
	const { access_token: token, expires_in: seconds } = JSON.parse(answer) as { access_token: string; expires_in: number };
	return { token, expiresInS: seconds };
}

/** Cursors in a JSON file, which is replaced as a whole: a crash leaves the one before. One process at a time may use it. */
export function fileCursors(path: string): CursorStore {
	let saved: Promise<Map<string, string>> | null = null;
	const load = () => {
		saved ??= readCursors(path);
		return saved;
	};
	let writing: Promise<void> = Promise.resolve();
	return {
		async load(names) {
			const cursors = await load();
			return new Map(names.flatMap((name) => (cursors.has(name) ? [[name, cursors.get(name) ?? '']] : [])));
		},
		save(changed) {
			// One after the other: an earlier state must not replace a later one.
			writing = writing
				.catch(() => undefined)
				.then(async () => {
					const cursors = await load();
					for (const [name, cursor] of changed) cursors.set(name, cursor);
					await writeFile(`${path}.new`, `${JSON.stringify(Object.fromEntries(cursors), null, '\t')}\n`, { flush: true });
					await rename(`${path}.new`, path);
				});
			return writing;
		},
	};
}

async function readCursors(path: string): Promise<Map<string, string>> {
	let text: string;
	try {
		text = await readFile(path, 'utf8');
	} catch (error) {
		if ((error as NodeJS.ErrnoException).code === 'ENOENT') return new Map();
		throw error;
	}
	try {
		return new Map(Object.entries(JSON.parse(text) as Record<string, string>));
	} catch (cause) {
		throw new RelayError('invalid_argument', `${path} is no file of cursors: move it away to begin anew`, { cause });
	}
}
