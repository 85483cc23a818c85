/** The table of client frames: `type` → command. */

import type { Command } from './command.ts';
import { ack } from './commands/ack.ts';
import { ping } from './commands/ping.ts';
import { publish } from './commands/publish.ts';
import { refresh } from './commands/refresh.ts';
import { subscribe } from './commands/subscribe.ts';
import { unsubscribe } from './commands/unsubscribe.ts';

/** The commands by frame type. */
export const commands: ReadonlyMap<string, Command> = new Map<string, Command>([
	['subscribe', subscribe],
	['unsubscribe', unsubscribe],
	['publish', publish],
	['ack', ack],
	['ping', ping],
	['refresh', refresh],
]);
