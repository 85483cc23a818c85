/** A relay that serves in this process, from its start, or the reason why not, to its end. */

import { type App, type AppOptions, createApp } from '../app.ts';
import type { Config } from '../config/schema.ts';
import type { Served } from '../workers/messages.ts';
import { CLOSE_GRACE_S, end, type ProcessLog } from './lifetime.ts';

export type ServeOutcome =
	| { readonly status: 'serving'; readonly app: App; readonly served: Served }
	/** In one line, for the operator. */
	| { readonly status: 'failed'; readonly reason: string }
	/** Told to stop while it waited for its store. */
	| { readonly status: 'stopped' };

/** Starts the relay. */
export async function serve(options: AppOptions): Promise<ServeOutcome> {
	const { config, logger } = options;
	let app: App | undefined;
	try {
		app = await createApp(options);
		const places = await app.listen();
		return { status: 'serving', app, served: { ...places, durability: app.durability } };
	} catch (error) {
		logger.debug({ err: error }, 'start failed');
		await app?.close().catch((closeError: unknown) => logger.debug({ err: closeError }, 'close failed'));
		return options.stopping?.aborted === true ? { status: 'stopped' } : { status: 'failed', reason: startFailure(error, config) };
	}
}

/** Drains the relay and ends the process. */
export function stopServing(app: App, why: Readonly<Record<string, unknown>>, config: Config, log: ProcessLog): Promise<never> {
	const drain = async () => {
		await app.drain();
		await app.close();
		return true;
	};
	return end({ timeoutS: config.drainTimeoutS + CLOSE_GRACE_S, drain, why }, log);
}

function startFailure(error: unknown, { host, port }: Config): string {
	const code = error instanceof Error && 'syscall' in error && 'code' in error ? error.code : undefined;
	const message = error instanceof Error ? error.message : String(error);
	switch (code) {
		case 'EADDRINUSE':
			return `port ${port} on ${host} is in use; stop what uses it, or choose another with PULSAR_PORT or --port`;
		case 'EADDRNOTAVAIL':
		case 'ENOTFOUND':
			return `${host} is not an address of this machine; see --host`;
		default:
			return message.split('\n', 1)[0] ?? message;
	}
}
