/** `ping` → `pong`. */

import type { CommandContext } from '../command.ts';
import type { ClientFrame } from '../frame.ts';

export function ping(context: CommandContext, frame: ClientFrame): undefined {
	context.reply(frame, { type: 'pong', timestamp: context.timestamp() });
}
