/** Whether a WebSocket may be opened: what is asked of an upgrade, and of a request that asks what an upgrade would be answered. */

import type { IncomingMessage } from 'node:http';
import { RelayError } from '@pulsar-relay/protocol/errors';
import type { Auth } from '../../auth/auth.ts';
import { bearerOf } from '../../auth/authenticate.ts';
import { holderOf, type KnownPrincipal, OPEN, type Principal } from '../../auth/principal.ts';
import { permissionRequired } from '../../auth/topic-access.ts';
import { edgeRefusal } from '../http/edge.ts';
import type { WebSocketDeps } from './command.ts';

/** What the checks ask. */
export type AdmissionDeps = Pick<WebSocketDeps, 'relay' | 'auth' | 'limiting' | 'caps' | 'edge'>;

const BEARER_PROTOCOL_PREFIX = 'bearer.';

/** Calls one of the two, once: at once where the credential is known, else later. Counts as a request of the caller. */
export function admit(
	deps: AdmissionDeps,
	request: IncomingMessage,
	accept: (principal: Principal) => void,
	refuse: (refusal: RelayError) => void,
): void {
	const refusal = refusalOf(request, deps);
	if (refusal !== null) {
		refuse(refusal);
		return;
	}
	const refuseFor = (thrown: unknown) => {
		const error = RelayError.from(thrown);
		refuse(deps.limiting?.afterFailure(request, error) ?? error);
	};
	const admitPrincipal = (principal: Principal) => {
		deps.limiting?.take(principal);
		const capRefusal = principal.kind === 'open' ? null : (deps.caps?.connectionRefusal(holderOf(principal)) ?? null);
		if (capRefusal !== null) throw capRefusal;
		accept(principal);
	};
	try {
		const principal = authenticateUpgrade(deps.auth, request);
		if (principal instanceof Promise) principal.then(admitPrincipal).catch(refuseFor);
		else admitPrincipal(principal);
	} catch (thrown) {
		refuseFor(thrown);
	}
}

/**
 * On whose behalf a connection is opened. A browser cannot set the `Authorization` header of a handshake; it offers two
 * subprotocols, `bearer` and `bearer.<token>`.
 */
function authenticateUpgrade(auth: Auth | null, { headers }: IncomingMessage): Principal | Promise<Principal> {
	if (auth === null) return OPEN;
	const offered = (headers['sec-websocket-protocol'] ?? '').split(',').map((text) => text.trim());
	const tokens = offered.filter((text) => text.startsWith(BEARER_PROTOCOL_PREFIX));
	if (tokens.length + (headers.authorization === undefined ? 0 : 1) > 1) {
		throw new RelayError('bad_request', 'the request has more than one credential');
	}
	const [token] = tokens;
	const credential =
		token !== undefined && offered.includes('bearer')
			? token.slice(BEARER_PROTOCOL_PREFIX.length)
			: bearerOf(headers.authorization);
	const principal = auth.authenticator.authenticate(credential);
	return principal instanceof Promise ? principal.then(mayConnect) : mayConnect(principal);
}

function mayConnect(principal: KnownPrincipal): Principal {
	if (principal.kind === 'account' && !principal.permissions.includes('read')) throw permissionRequired('read');
	return principal;
}

function refusalOf(request: IncomingMessage, { relay, edge }: AdmissionDeps): RelayError | null {
	const refusal = edgeRefusal(request, edge);
	if (refusal !== null) return refusal;
	const path = (request.url ?? '').split('?', 1)[0];
	if (path !== '/ws' && path !== '/ws/') return new RelayError('not_found', 'WebSockets are served at /ws');
	if (request.method !== 'GET') return new RelayError('method_not_allowed', 'a WebSocket handshake is a GET');
	return edge.origins.refusal(request) ?? relay.refusal();
}
