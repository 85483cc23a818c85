/** What accounts and clients may ask for, hold open and keep, by the settings. */

import type { Auth } from '../auth/auth.ts';
import { OPEN_RIGHTS, type TopicRights } from '../auth/topic-access.ts';
import type { Config } from '../config/schema.ts';
import { AccountCaps } from '../limits/account-caps.ts';
import { AccountUsage } from '../limits/account-usage.ts';
import { RateLimits, type RateLimitsOptions } from '../limits/rate-limits.ts';
import { Tenancy } from '../limits/tenancy.ts';
import type { Logger } from '../ops/logger.ts';
import type { Clock } from '../ports/clock.ts';
import type { Store } from '../ports/store.ts';
import type { ServerOptions } from '../stores/valkey/glide.ts';
import { openValkeySharedBuckets } from '../stores/valkey/shared-buckets.ts';
import { clientAddresses } from '../transports/http/client-address.ts';
import { Limiting } from '../transports/http/limiting.ts';
import { withinQuota } from '../transports/http/topic-quota.ts';

export interface LimitsDeps {
	readonly store: Store;
	readonly clock: Clock;
	readonly logger: Logger;
	/** Null where nobody is asked for credentials: there are no limits then. */
	readonly auth: Auth | null;
	/** Whose nodes share the rate limits; null for a relay that is alone. */
	readonly server: ServerOptions | null;
}

/** What the transports are given. */
export interface Limits {
	readonly limiting: Limiting | null;
	readonly caps: AccountCaps | null;
	readonly usage: AccountUsage | null;
	readonly rights: TopicRights;
	close(): void;
}

/** Rejects when the nodes cannot share. */
export async function openLimits(config: Config, { store, clock, logger, auth, server }: LimitsDeps): Promise<Limits> {
	if (auth === null) return { limiting: null, caps: null, usage: null, rights: OPEN_RIGHTS, close: () => {} };
	const shared = server === null ? null : await openValkeySharedBuckets({ server, clock });
	const perMinute = {
		principal: config.rateLimitPrincipal,
		address: config.rateLimitAddress,
		login: config.rateLimitLogin,
		refresh: config.rateLimitRefresh,
		device: config.rateLimitDevice,
	};
	const onSharing: RateLimitsOptions['onSharing'] = (change) => {
		if (change.sharing) logger.info('the nodes share their rate limits again');
		else logger.warn({ err: change.error }, 'the nodes do not share their rate limits; each goes on by itself');
	};
	const rateLimits = new RateLimits({ clock, perMinute, shared, onSharing });
	const tenancy = new Tenancy({ clock, countAccounts: async () => (await auth.accounts.list(null, 2)).length });
	await tenancy.look();
	const severalAccounts = () => tenancy.several;
	const caps = new AccountCaps({
		max: { connections: config.wsMaxPerUser, polls: config.maxPollsPerUser, subscriptions: config.maxSubscriptionsPerUser },
		nodeMax: { connections: config.maxConnections, polls: config.maxWaitingPolls },
		severalAccounts,
	});
	const usage = new AccountUsage({
		store,
		clock,
		topicsMax: config.maxTopicsPerUser,
		bytesMax: config.maxPerUserBytes,
		storeTopicsMax: config.maxTopics,
		severalAccounts,
	});
	return {
		limiting: new Limiting(rateLimits, clientAddresses(config.trustedProxies)),
		caps,
		usage,
		rights: withinQuota(auth.topics, usage),
		close: () => rateLimits.close(),
	};
}
