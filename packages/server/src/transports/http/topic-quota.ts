/** The right to publish, as far as there is room: of a topic's owner, whoever publishes to it. */

import type { TopicReference, TopicRights } from '../../auth/topic-access.ts';
import type { AccountUsage } from '../../limits/account-usage.ts';

/** Rights that are also refused with `topic_limit` or `account_full`. */
export function withinQuota(rights: TopicRights, usage: AccountUsage): TopicRights {
	const admit = (reference: TopicReference): TopicReference | Promise<TopicReference> => {
		const waiting = usage.admit(reference.topic);
		return waiting === null ? reference : waiting.then(() => reference);
	};
	const allow: TopicRights['allow'] = (principal, action, shown) => {
		const reference = rights.allow(principal, action, shown);
		if (action !== 'publish') return reference;
		return reference instanceof Promise ? reference.then(admit) : admit(reference);
	};
	return {
		owners: rights.owners,
		problemOf: rights.problemOf,
		allow,
		allowAll: (principal, action, names) => Promise.all(Array.from(names, async (name) => allow(principal, action, name))),
	};
}
