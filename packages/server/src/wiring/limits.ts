/** What accounts and clients may ask for, hold open and keep, by the settings. */

import type { Auth } from '../auth/auth.ts';
import { OPEN_RIGHTS, type TopicRights } from '../auth/topic-access.ts';
import type { Config } from '../config/schema.ts';
import { AccountCaps } from '../limits/account-caps.ts';
import { AccountUsage } from '../limits/account-usage.ts';
import { Budgets } from '../limits/budgets.ts';
import { RateLimits, type RateLimitsOptions } from '../limits/rate-limits.ts';
import { Tenancy } from '../limits/tenancy.ts';
import type { Logger } from '../ops/logger.ts';
import type { Clock } from '../ports/clock.ts';
import type { Store } from '../ports/store.ts';
import type { ServerOptions } from '../stores/valkey/glide.ts';
import { openValkeySharedBuckets } from '../stores/valkey/shared-buckets.ts';
import { clientAddresses } from '../transports/http/client-address.ts';
import { Limiting } from '../transports/http/limiting.ts';
import { type PartyOf, parties } from '../transports/http/party-of.ts';
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
	readonly budgets: Budgets;
	readonly partyOf: PartyOf;
	close(): void;
}

/** Rejects when the nodes cannot share. */
export async function openLimits(config: Config, { store, clock, logger, auth, server }: LimitsDeps): Promise<Limits> {
	const addressOf = clientAddresses(config.trustedProxies);
	const budgets = createBudgets(config, clock);
	const everybodys = { budgets, partyOf: parties(addressOf) };
	if (auth === null) {
		return { limiting: null, caps: null, usage: null, rights: OPEN_RIGHTS, ...everybodys, close: () => budgets.close() };
	}
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
		limiting: new Limiting(rateLimits, addressOf),
		caps,
		usage,
		rights: withinQuota(auth.topics, usage),
		...everybodys,
		close() {
			rateLimits.close();
			budgets.close();
		},
	};
}

/** A share takes a message of the largest size, as it comes over any transport, and more beside it. */
function createBudgets({ maxBodyBytes, wsMaxMessageBytes, maxReceivingBytes, bodyTimeoutS }: Config, clock: Clock): Budgets {
	const shareBytesMax = Math.ceil(1.25 * Math.max(maxBodyBytes, wsMaxMessageBytes));
	return new Budgets({
		clock,
		shareBytesMax,
		bytesMax: Math.max(maxReceivingBytes, shareBytesMax),
		timeoutMs: bodyTimeoutS * 1000,
	});
}
