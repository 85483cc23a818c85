/** How people and tokens from elsewhere get in, as the settings say it. */

import type { AuthOptions, BrowserSignInOptions } from '../auth/auth.ts';
import type { ProviderAddress } from '../auth/oidc-provider.ts';
import type { Permission } from '../auth/principal.ts';
import type { Config, ProviderConfig } from '../config/schema.ts';

/** The options of identity that are for this. */
export function signInOf(config: Config): Pick<AuthOptions, 'browser' | 'outsideTokens'> {
	return { ...browserSignIn(config), ...outsideTokens(config) };
}

/** How browsers get in, where an address for them is set. */
function browserSignIn(config: Config): { readonly browser?: BrowserSignInOptions } {
	if (config.oidcBaseUrl === null) return {};
	const oidc = () => ({
		providers: config.oidcProviders.map((provider) => ({
			...provider,
			displayName: provider.displayName ?? provider.name,
			// The guard has seen to it that these are set.
			clientId: provider.clientId ?? '',
			clientSecret: provider.clientSecret ?? '',
			address: addressOf(provider),
		})),
		defaultPermissions: config.oidcDefaultPermissions as readonly Permission[],
		lifetimeS: config.oidcStateTtlS,
		returnOrigins: config.allowedOrigins,
	});
	return {
		browser: {
			baseUrl: config.oidcBaseUrl,
			deviceLifetimeS: config.deviceCodeTtlS,
			deviceIntervalS: config.deviceCodePollIntervalS,
			oidc: config.oidcEnabled ? oidc() : null,
		},
	};
}

function addressOf(provider: ProviderConfig): ProviderAddress {
	const { discoveryUrl, issuer, authorizationEndpoint, tokenEndpoint, jwksUri } = provider;
	if (discoveryUrl !== null) return { kind: 'discovery', url: discoveryUrl };
	if (issuer === null || authorizationEndpoint === null || tokenEndpoint === null || jwksUri === null) {
		throw new Error(`the guard let an incomplete provider pass: ${provider.name}`);
	}
	return { kind: 'endpoints', issuer, authorizationEndpoint, tokenEndpoint, jwksUri };
}

function outsideTokens({ tokenIssuer: issuer, tokenAudience: audience, tokenJwksUri: jwksUri, tokenClaimUsername }: Config) {
	if (issuer === null || audience === null || jwksUri === null) return {};
	return { outsideTokens: { issuer, audience, jwksUri, claimUsername: tokenClaimUsername } };
}
