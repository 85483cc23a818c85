/** What the primary and its workers say to each other, over the channel that node:cluster gives them. */

import type { Report } from '../ops/report.ts';

/** What a worker gives. All workers give the same. */
export interface Served {
	readonly url: string;
	/** Where the metrics are. */
	readonly metricsUrl: string;
	/** What an acknowledgement survives. */
	readonly durability: string;
}

/**
 * - `hello`: the first word, once the code is loaded; answered with `start`, or with `drain` when nobody is wanted any more.
 * - `serving`: it listens.
 * - `cannot start`: it is going to end, for this reason.
 * - `beat`: its event loop turns.
 * - `scrape`: somebody asks it for the metrics of the whole; answered with `scraped`.
 * - `report`: its own metrics, the answer to `report`.
 */
export type FromWorker =
	| { readonly kind: 'hello' }
	| { readonly kind: 'serving'; readonly served: Served }
	| { readonly kind: 'cannot start'; readonly reason: string }
	| { readonly kind: 'beat' }
	| { readonly kind: 'scrape'; readonly ask: number }
	| { readonly kind: 'report'; readonly scrape: number; readonly report: Report };

/** What a worker starts with. */
export interface Start<Setup> {
	readonly kind: 'start';
	/** From 1; a worker that takes a dead one's place has its number. */
	readonly number: number;
	/** How often it shall beat. */
	readonly beatMs: number;
	readonly setup: Setup;
}

export type FromPrimary<Setup> =
	| Start<Setup>
	| { readonly kind: 'drain' }
	/** Read the certificates again. */
	| { readonly kind: 'reload' }
	| { readonly kind: 'report'; readonly scrape: number }
	| { readonly kind: 'scraped'; readonly ask: number; readonly text: string };
