/**
 * Usernames: what a new account may be called, and which names people could take for each other. Accounts from before these rules keep
 * their names.
 */

export const USERNAME_LENGTH_MIN = 3;
export const USERNAME_LENGTH_MAX = 50;

/** The characters that the owner in `owner/topic` may have: no invisible ones, and no letters of other scripts that look like these. */
export const USERNAME_PATTERN = '^[A-Za-z0-9._@+-]*$';

const CHARACTERS = new RegExp(USERNAME_PATTERN);
const ACCOUNT_ID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/;

/** Whether a text is the id of an account, existing or not. */
export function isAccountId(text: string): boolean {
	return ACCOUNT_ID.test(text);
}

/** Stands where an account's id would, for a name of nobody: topics of nobody are answered like those that are not granted. */
export function nobody(name: string): string {
	return `?${name}`;
}

/** Whether a text could be taken for an account's id: a UUID in any case, and with or without dashes, braces and prefix. */
export function looksLikeId(text: string): boolean {
	const bare = text
		.normalize('NFKC')
		.toLowerCase()
		.replace(/[^0-9a-z]/g, '');
	return /^(urn)?(uuid|guid)?[0-9a-f]{32}$/.test(bare);
}

/** Why a new account may not have a name, as one clause, or undefined when it may. */
export function usernameProblem(name: string): string | undefined {
	if (name.length < USERNAME_LENGTH_MIN || name.length > USERNAME_LENGTH_MAX) {
		return `a username has ${USERNAME_LENGTH_MIN} to ${USERNAME_LENGTH_MAX} characters`;
	}
	if (!CHARACTERS.test(name)) return 'a username may only contain letters a to z, digits, ".", "_", "@", "+" and "-"';
	if (!/[A-Za-z0-9]/.test(name)) return 'a username needs at least one letter or digit';
	return looksLikeId(name) ? 'a username must not look like a user id' : undefined;
}

/**
 * Two names that share one of these are too much alike for two accounts: they differ in case only, or by characters that look the same
 * (as Unicode's UTS #39 has them for ASCII: `0` and `o`; `1`, `I` and `l`; `rn` and `m`). Names from before the rules also without
 * accents, invisible characters and widths.
 */
export function likenessesOf(name: string): readonly [inCase: string, inLooks: string] {
	const plain = name
		.normalize('NFKD')
		.replace(/[\p{M}\p{C}\p{Z}\p{Default_Ignorable_Code_Point}]/gu, '')
		.slice(0, 4 * USERNAME_LENGTH_MAX);
	const looks = plain.replace(/[1I]/g, 'l').replace(/0/g, 'o').toLowerCase().replace(/m/g, 'rn');
	return [`case:${plain.toLowerCase()}`, `looks:${looks}`];
}
