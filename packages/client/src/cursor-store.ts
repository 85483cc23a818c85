/** Where cursors are kept between runs of a program or visits of a page. */

/** A place for small texts by name. A failure to save is no reason to stop reading: see `onCursorError` of `connect`. */
export interface CursorStore {
	/** The cursors that were saved under these names; absent where there is none. */
	load(names: readonly string[]): ReadonlyMap<string, string> | Promise<ReadonlyMap<string, string>>;
	save(cursors: ReadonlyMap<string, string>): void | Promise<void>;
}

/** Cursors that last as long as the program. */
export function memoryCursors(): CursorStore {
	const saved = new Map<string, string>();
	return {
		load: (names) => new Map(names.flatMap((name) => (saved.has(name) ? [[name, saved.get(name) ?? '']] : []))),
		save: (cursors) => {
			for (const [name, cursor] of cursors) saved.set(name, cursor);
		},
	};
}

interface TextStorage {
	getItem(name: string): string | null;
	setItem(name: string, value: string): void;
}

const PREFIX = 'pulsar-relay:';

/** Cursors that last as long as the tab, in its `sessionStorage`. Throws where there is none. */
export function sessionCursors(): CursorStore {
	const storage = (globalThis as { sessionStorage?: TextStorage }).sessionStorage;
	if (storage === undefined) throw new TypeError('sessionCursors() needs a browser: there is no sessionStorage here');
	return {
		load: (names) =>
			new Map(
				names.flatMap((name) => {
					const cursor = storage.getItem(PREFIX + name);
					return cursor === null ? [] : [[name, cursor]];
				}),
			),
		save: (cursors) => {
			for (const [name, cursor] of cursors) storage.setItem(PREFIX + name, cursor);
		},
	};
}
