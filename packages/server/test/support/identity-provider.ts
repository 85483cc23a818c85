/** A real OpenID Connect provider on loopback, at which anybody signs in by any name. */

import { once } from 'node:events';
import { createServer, type Server } from 'node:http';
import { exportJWK, generateKeyPair, type JWK, SignJWT } from 'jose';
import { Provider } from 'oidc-provider';
import { freePort } from './valkey.ts';

export const CLIENT_ID = 'relay';
export const CLIENT_SECRET = 'planted-client-secret-of-the-relay';

/** What is said of somebody, beside `sub`, which is the name they signed in by. */
export type Claims = Readonly<Record<string, unknown>>;

export interface IdentityProvider {
	readonly issuer: string;
	readonly discoveryUrl: string;
	readonly jwksUri: string;
	/** Requests so far, by path. */
	readonly requests: string[];
	/** What is said of people from now on, by their name. */
	readonly claims: Map<string, Claims>;
	/** Signs with the newest key, as an issuer of access tokens does. */
	sign(claims: Claims, header?: Readonly<Record<string, unknown>>): Promise<string>;
	/** Stops answering, or answers again. */
	down(): Promise<void>;
	up(): Promise<void>;
	/** Signs with a new key from now on, and forgets the one before. */
	rotate(): Promise<void>;
	close(): Promise<void>;
}

export interface IdentityProviderOptions {
	readonly redirectUris: readonly string[];
	/** Answers a request instead of the provider; false leaves it to the provider. */
	readonly instead?: (path: string, respond: (status: number, body: string) => void) => boolean;
}

/** Starts a provider. */
export async function startIdentityProvider({ redirectUris, instead }: IdentityProviderOptions): Promise<IdentityProvider> {
	const port = await freePort();
	const issuer = `http://127.0.0.1:${port}`;
	const requests: string[] = [];
	const claims = new Map<string, Claims>();
	let key = await newKey();
	let provider = createProvider(issuer, redirectUris, key, claims);
	let server: Server | null = null;

	const up = async () => {
		server = createServer((request, response) => {
			const path = (request.url ?? '').split('?', 1)[0] ?? '';
			requests.push(path);
			const answered = instead?.(path, (status, body) => {
				response.writeHead(status, { 'content-type': 'application/json' }).end(body);
			});
			if (answered !== true) provider(request, response);
		});
		server.listen(port, '127.0.0.1');
		await once(server, 'listening');
	};
	const down = async () => {
		const closing = server;
		server = null;
		if (closing === null) return;
		closing.close();
		closing.closeAllConnections();
		await once(closing, 'close');
	};
	await up();
	return {
		issuer,
		discoveryUrl: `${issuer}/.well-known/openid-configuration`,
		jwksUri: `${issuer}/jwks`,
		requests,
		claims,
		sign: (payload, header = {}) =>
			new SignJWT(payload)
				.setProtectedHeader({ alg: key.alg, kid: key.jwk.kid ?? '', typ: 'at+jwt', ...header })
				.sign(key.privateKey),
		down,
		up,
		async rotate() {
			key = await newKey();
			provider = createProvider(issuer, redirectUris, key, claims);
		},
		close: down,
	};
}

interface Key {
	readonly alg: string;
	readonly privateKey: CryptoKey;
	readonly jwk: JWK;
}

let keys = 0;

async function newKey(): Promise<Key> {
	const { privateKey } = await generateKeyPair('RS256', { extractable: true });
	return { alg: 'RS256', privateKey, jwk: { ...(await exportJWK(privateKey)), alg: 'RS256', use: 'sig', kid: `key-${++keys}` } };
}

function createProvider(issuer: string, redirectUris: readonly string[], { jwk }: Key, claims: ReadonlyMap<string, Claims>) {
	const provider = new Provider(issuer, {
		clients: [{ client_id: CLIENT_ID, client_secret: CLIENT_SECRET, redirect_uris: [...redirectUris] }],
		jwks: { keys: [jwk as never] },
		cookies: { keys: ['cookies of the tests'] },
		// Claims in the ID token, where the relay reads them.
		conformIdTokenClaims: false,
		claims: { openid: ['sub'], email: ['email', 'email_verified'], profile: ['preferred_username', 'name'] },
		pkce: { required: () => true },
		findAccount: (_context, sub) => ({
			accountId: sub,
			claims: () => ({ sub, email: `${sub}@example.org`, email_verified: true, preferred_username: sub, ...claims.get(sub) }),
		}),
	});
	return provider.callback();
}
