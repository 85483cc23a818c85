/** `/auth/…` and the grants of topics: what there is only where credentials are asked for. */

import type { FastifyInstance } from 'fastify';
import type { Auth } from '../../../auth/auth.ts';
import type { BodyReader } from '../bodies.ts';
import type { HttpDeps } from '../deps.ts';
import type { AnswerError } from '../errors.ts';
import { addFormBodies } from '../form-body.ts';
import { registerAccounts } from './accounts.ts';
import { registerApiKeys } from './api-keys.ts';
import { registerDevice } from './device.ts';
import { registerDevicePage } from './device-page.ts';
import { registerOidc } from './oidc.ts';
import { registerSessions } from './sessions.ts';
import { registerLogin, registerTokens } from './tokens.ts';
import { registerTopicPermissions } from './topic-permissions.ts';

/** Registers the routes. */
export async function registerAuth(
	server: FastifyInstance,
	deps: HttpDeps,
	auth: Auth,
	bodies: BodyReader,
	answerError: AnswerError,
): Promise<void> {
	await server.register((scope, _options, done) => {
		addFormBodies(scope, bodies);
		registerLogin(scope, deps, auth);
		registerDevice(scope, deps, auth, answerError);
		registerDevicePage(scope, deps, auth, answerError);
		done();
	});
	registerTokens(server, deps, auth);
	registerOidc(server, deps, auth, answerError);
	registerSessions(server, auth);
	registerAccounts(server, deps, auth);
	registerApiKeys(server, deps, auth);
	registerTopicPermissions(server, deps, auth);
}
