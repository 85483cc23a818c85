/** `unsubscribe {topics}` → `unsubscribed {topics}` with those that were followed; nothing of them comes after it. */

import type { CommandContext } from '../command.ts';
import type { ClientFrame } from '../frame.ts';
import { readTopics } from './topics.ts';

export function unsubscribe(context: CommandContext, frame: ClientFrame): undefined {
	const followed = context.session.topicsByShown;
	const topics = readTopics(frame.fields()['topics'], context.deps.rights).filter((shown) => {
		const topic = followed.get(shown);
		return topic !== undefined && context.session.unsubscribe(topic);
	});
	context.reply(frame, { type: 'unsubscribed', topics, timestamp: context.timestamp() });
}
