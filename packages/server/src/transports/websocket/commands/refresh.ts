/**
 * `refresh {token}` → `refreshed {expires_at}`: the connection goes on by another token of the same account, and does not end
 * with the one before. What the new token may not follow ends.
 */

import { RelayError } from '@pulsar-relay/protocol/errors';
import type { CommandContext } from '../command.ts';
import type { ClientFrame } from '../frame.ts';

const TOKEN_TEXT_BYTES_MAX = 16 * 1024;

export async function refresh(context: CommandContext, frame: ClientFrame): Promise<void> {
	const { auth } = context.deps;
	const { principal: before } = context;
	const token = frame.value('token', TOKEN_TEXT_BYTES_MAX);
	if (typeof token !== 'string') throw new RelayError('invalid_request', '`token` must be a string');
	if (auth === null || before.kind === 'open') {
		throw new RelayError('bad_request', 'this relay asks nobody for a token');
	}
	const principal = await auth.authenticator.authenticate(token);
	// Whoever has the connection has what came over it: that must not become another account's.
	if (principal.accountId !== before.accountId) throw new RelayError('forbidden', "the token is another account's");
	context.replace(principal);
	const { expiresAtMs } = principal;
	context.reply(frame, {
		type: 'refreshed',
		expires_at: expiresAtMs === null ? null : new Date(expiresAtMs).toISOString(),
		timestamp: context.timestamp(),
	});
}
