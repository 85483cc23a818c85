/** Whose share a request uses: its account's, or its address's. */

import type { IncomingMessage } from 'node:http';
import { holderOf, type Principal } from '../../auth/principal.ts';
import type { Party } from '../../limits/party.ts';
import type { AddressOf } from './client-address.ts';

/** @param principal null for a client that has not signed in, where that is asked for */
export type PartyOf = (principal: Principal | null, request: IncomingMessage) => Party;

/** Makes the function for clients whose addresses are found by `addressOf`. */
export function parties(addressOf: AddressOf): PartyOf {
	return (principal, request) => {
		if (principal === null) return { kind: 'stranger', name: addressOf(request), credential: null };
		if (principal.kind === 'open') return { kind: 'address', name: addressOf(request), credential: null };
		const { accountId, keyId, tokenId } = holderOf(principal);
		return { kind: 'account', name: accountId, credential: tokenId ?? keyId };
	};
}
