/** A relay with accounts, and its administrator. */

import type { ChildServer } from './child-server.ts';
import { type RelayOptions, startRelay } from './servers.ts';

const USERNAME = 'bench';
const PASSWORD = 'a password for the benchmark';

/** Beside the accounts: no limit that the load could meet. */
const FLAGS = [
	'--auth',
	'required',
	'--jwt-secret-key',
	'a secret of the benchmark, long enough for anybody',
	'--bootstrap-admin-username',
	USERNAME,
	'--bootstrap-admin-password',
	PASSWORD,
	'--rate-limit',
	'1000000000',
	'--rate-limit-address',
	'1000000000',
	'--rate-limit-login',
	'1000000',
];

export function startRelayWithAccounts(options: RelayOptions): Promise<ChildServer> {
	return startRelay({ ...options, flags: FLAGS });
}

/** Signs in by password. */
export async function signIn({ url }: ChildServer): Promise<string> {
	const body = new URLSearchParams({ username: USERNAME, password: PASSWORD });
	const response = await fetch(`${url}/auth/login`, { method: 'POST', body });
	if (response.status !== 200) throw new Error(`a login was refused: ${response.status} ${await response.text()}`);
	const { access_token: token } = (await response.json()) as { access_token: string };
	return token;
}
