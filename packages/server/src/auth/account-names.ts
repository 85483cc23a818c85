/** The records by which accounts hold their names: the name itself, and what it looks like to people, so that no other looks the same. */

import type { RecordOp, Records } from '../ports/records.ts';
import { likenessesOf } from './usernames.ts';

/** By the exact name: the account's id. */
export const NAME = 'account-name';
/** By what a name looks like: the same. */
const LIKENESS = 'account-likeness';

/** What is to be written with a new account. */
export function claimOps(username: string, accountId: string): RecordOp[] {
	return [put(NAME, username, accountId), ...likenessesOf(username).map((likeness) => put(LIKENESS, likeness, accountId))];
}

/** Of the likenesses of a name that an account has anyway, those that no account has yet. */
export async function freeClaimOps(records: Records, username: string, accountId: string): Promise<RecordOp[]> {
	const free = await Promise.all(
		likenessesOf(username).map(async (likeness) => ((await records.get(LIKENESS, likeness)) === undefined ? [likeness] : [])),
	);
	return free.flat().map((likeness) => put(LIKENESS, likeness, accountId));
}

/** What is to be written with the end of an account. Another may have been the first to look like that. */
export async function releaseOps(records: Records, username: string, accountId: string): Promise<RecordOp[]> {
	const likenesses = await Promise.all(likenessesOf(username).map((likeness) => records.get(LIKENESS, likeness)));
	return [
		{ op: 'delete', kind: NAME, id: username, expected: 'any' },
		...likenesses
			.filter((record) => record !== undefined)
			.filter(({ value }) => value['accountId'] === accountId)
			.map(({ id }): RecordOp => ({ op: 'delete', kind: LIKENESS, id, expected: 'any' })),
	];
}

/** The id of the account that has a name, or one that looks like it; null when there is none. */
export async function holderOf(records: Records, username: string): Promise<string | null> {
	const found = await Promise.all([
		records.get(NAME, username),
		...likenessesOf(username).map((likeness) => records.get(LIKENESS, likeness)),
	]);
	const holder = found.find((record) => record !== undefined);
	return holder === undefined ? null : String(holder.value['accountId']);
}

function put(kind: string, id: string, accountId: string): RecordOp {
	return { op: 'put', kind, id, value: { accountId }, expected: 'absent' };
}
