/**
 * One OpenID Connect provider. It is asked about itself when somebody first signs in, not when the relay starts: a provider that is
 * away keeps nobody from anything else. While it does not answer it is left alone for longer and longer.
 */

import { compactVerify } from 'jose';
import * as client from 'openid-client';
import type { Clock } from '../ports/clock.ts';
import type { AuthLog } from './auth-log.ts';
import { causeOf, fetchBounded, OUTBOUND_TIMEOUT_MS, providerUnavailable } from './outbound.ts';
import { RemoteKeys } from './remote-keys.ts';

/** After so long the provider is asked about itself anew; if it does not answer, what is known goes on. */
const FRESH_MS = 3_600_000;
const BACK_OFF_FIRST_MS = 1000;
const BACK_OFF_MS_MAX = 60_000;
const CLOCK_SKEW_S = 60;

/** How a provider is found: it describes itself, or is described. */
export type ProviderAddress =
	| { readonly kind: 'discovery'; readonly url: string }
	| {
			readonly kind: 'endpoints';
			readonly issuer: string;
			readonly authorizationEndpoint: string;
			readonly tokenEndpoint: string;
			readonly jwksUri: string;
	  };

export interface ProviderOptions {
	/** In its addresses at the relay. */
	readonly name: string;
	readonly displayName: string;
	readonly clientId: string;
	readonly clientSecret: string;
	readonly scopes: readonly string[];
	readonly address: ProviderAddress;
	readonly claimUsername: string;
	readonly claimEmail: string;
	readonly claimSub: string;
}

/** What a provider says about itself, and its keys. */
interface Known {
	readonly configuration: client.Configuration;
	readonly keys: RemoteKeys;
	readonly readMs: number;
}

export class OidcProvider {
	readonly options: ProviderOptions;
	readonly #clock: Clock;
	readonly #log: AuthLog;
	#known: Known | null = null;
	#reading: Promise<Known> | null = null;
	#failures = 0;
	#notBeforeMs = 0;

	constructor(options: ProviderOptions, { clock, log }: { readonly clock: Clock; readonly log: AuthLog }) {
		this.options = options;
		this.#clock = clock;
		this.#log = log;
	}

	/** The provider's description of itself, read when there is none or it is old. Rejects with `provider_unavailable`. */
	async configuration(): Promise<client.Configuration> {
		return (await this.#current()).configuration;
	}

	/**
	 * Verifies the signature of an ID token; its claims are checked where the code is exchanged. Rejects as jose does, and with
	 * `provider_unavailable` while the keys cannot be read.
	 */
	async verifySignature(idToken: string): Promise<void> {
		const { keys } = await this.#current();
		await keys.verify((find) => compactVerify(idToken, find, { algorithms: ID_TOKEN_ALGORITHMS }));
	}

	async #current(): Promise<Known> {
		const known = this.#known;
		const nowMs = this.#clock.monotonicMs();
		if (known !== null && (nowMs - known.readMs < FRESH_MS || nowMs < this.#notBeforeMs)) return known;
		if (nowMs < this.#notBeforeMs) throw providerUnavailable(undefined);
		this.#reading ??= this.#read().finally(() => {
			this.#reading = null;
		});
		try {
			return await this.#reading;
		} catch (error) {
			if (known !== null) return known;
			throw error;
		}
	}

	async #read(): Promise<Known> {
		const { name, address } = this.options;
		try {
			const configuration = await this.#configure(address);
			const known = { configuration, keys: this.#keysOf(configuration), readMs: this.#clock.monotonicMs() };
			this.#known = known;
			this.#failures = 0;
			this.#notBeforeMs = 0;
			return known;
		} catch (error) {
			const waitMs = Math.min(BACK_OFF_MS_MAX, BACK_OFF_FIRST_MS * 2 ** this.#failures);
			this.#failures = Math.min(this.#failures + 1, 10);
			this.#notBeforeMs = this.#clock.monotonicMs() + waitMs;
			const fields = { provider: name, cause: causeOf(error), next_attempt_in_ms: waitMs };
			this.#log.warn(fields, 'the identity provider could not be asked about itself; nobody can sign in there now');
			throw providerUnavailable(error);
		}
	}

	/** Where the provider publishes its keys; those that are known stay known while it is the same place. */
	#keysOf(configuration: client.Configuration): RemoteKeys {
		const { jwks_uri: url } = configuration.serverMetadata();
		if (url === undefined) throw new Error('the provider does not say where its keys are (jwks_uri)');
		if (this.#known?.keys.url === url) return this.#known.keys;
		if (!this.#isPlain && !url.startsWith('https:')) throw new Error(`the keys of the provider are not at an https URL: ${url}`);
		return new RemoteKeys({ url, clock: this.#clock, log: this.#log });
	}

	/** Whether the settings allow plain HTTP, as they do on a loopback address. */
	get #isPlain(): boolean {
		const { address } = this.options;
		return (address.kind === 'discovery' ? address.url : address.tokenEndpoint).startsWith('http:');
	}

	async #configure(address: ProviderAddress): Promise<client.Configuration> {
		const { clientId, clientSecret } = this.options;
		const metadata = { client_secret: clientSecret, [client.clockTolerance]: CLOCK_SKEW_S };
		const authentication = client.ClientSecretBasic(clientSecret);
		// The library asks for https everywhere. Where that need not be, the settings have been looked at already.
		const execute = this.#isPlain ? [client.allowInsecureRequests] : [];
		if (address.kind === 'discovery') {
			return client.discovery(new URL(address.url), clientId, metadata, authentication, {
				execute,
				timeout: OUTBOUND_TIMEOUT_MS / 1000,
				[client.customFetch]: ask,
			});
		}
		const { issuer, authorizationEndpoint, tokenEndpoint, jwksUri } = address;
		const configuration = new client.Configuration(
			{
				issuer,
				authorization_endpoint: authorizationEndpoint,
				token_endpoint: tokenEndpoint,
				jwks_uri: jwksUri,
				id_token_signing_alg_values_supported: ID_TOKEN_ALGORITHMS,
			},
			clientId,
			metadata,
			authentication,
		);
		configuration[client.customFetch] = ask;
		configuration.timeout = OUTBOUND_TIMEOUT_MS / 1000;
		for (const enable of execute) enable(configuration);
		return configuration;
	}
}

/** Asymmetric ones only; also assumed of a provider that does not describe itself. */
const ID_TOKEN_ALGORITHMS = ['RS256', 'RS384', 'RS512', 'ES256', 'ES384', 'ES512', 'EdDSA'];

const ask: client.CustomFetch = (url, options) => fetchBounded(url, options as RequestInit);
