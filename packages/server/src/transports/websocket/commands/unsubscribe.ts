/** `unsubscribe {topics}` → `unsubscribed {topics}` with those that were followed; nothing of them comes after it. */

import type { CommandContext } from '../command.ts';
import type { ClientFrame } from '../frame.ts';
import { readTopics } from './topics.ts';

export async function unsubscribe(context: CommandContext, frame: ClientFrame): Promise<void> {
	const named = await context.read(frame, readTopics(frame, context.deps.rights));
	const followed = context.session.topicsByShown;
	const topics = named.filter((shown) => {
		const topic = followed.get(shown);
		return topic !== undefined && context.session.unsubscribe(topic);
	});
	context.reply(frame, { type: 'unsubscribed', topics, timestamp: context.timestamp() });
}
