/** Whose a share is. */

/**
 * - `account`: signed in, with whichever of its credentials.
 * - `address`: a client address, where there are no accounts.
 * - `stranger`: the address of a client that has not signed in, where there are accounts.
 */
export interface Party {
	readonly kind: 'account' | 'address' | 'stranger';
	/** The account's id, or the address: of IPv6 its network. */
	readonly name: string;
	/** Which of the account's keys or scoped tokens; null for the account itself, and for addresses. They share what the account has. */
	readonly credential: string | null;
}
