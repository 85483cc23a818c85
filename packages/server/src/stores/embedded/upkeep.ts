/** What an open store looks after each second: that its files and its lock are in their places, and how much space the file takes. */

import type { Clock } from '../../ports/clock.ts';
import { describeFailure } from './failure.ts';
import type { NoticeListener } from './files.ts';
import type { DataDirLock } from './lock.ts';
import type { StoreFailure } from './messages.ts';
import { Space } from './space.ts';
import type { WriteQueue } from './write-queue.ts';

/** How often the files are looked for while nothing is written; each transaction looks before its commit. */
const INTERVAL_MS = 1000;

export interface UpkeepOptions {
	readonly dataDir: string;
	readonly clock: Clock;
	readonly lock: DataDirLock;
	readonly queue: WriteQueue;
	/** Whether the writer serves and nothing has failed. While something has, the store's probes find out when it works again. */
	readonly isSound: () => boolean;
	readonly onNotice?: NoticeListener | undefined;
	readonly onWarning?: NoticeListener | undefined;
}

export class Upkeep {
	readonly #options: UpkeepOptions;
	readonly #space: Space;
	#lockFailure: StoreFailure | null = null;
	#stopped = false;
	#cancel = () => {};

	constructor(options: UpkeepOptions) {
		this.#options = options;
		const { dataDir, clock, queue, onNotice = ignore, onWarning = ignore } = options;
		this.#space = new Space({ dataDir, clock, queue, onNotice, onWarning });
	}

	/** Why another relay may be using the directory; null while the lock is held. */
	get lockFailure(): StoreFailure | null {
		return this.#lockFailure;
	}

	get space(): { readonly fileBytes: number; readonly freeBytes: number } {
		return this.#space.report;
	}

	/** Looks each second from now on. */
	start(): void {
		this.#cancel = this.#options.clock.after(INTERVAL_MS, () => {
			void this.#look().finally(() => {
				if (!this.#stopped) this.start();
			});
		});
	}

	stop(): void {
		this.#stopped = true;
		this.#space.stop();
		this.#cancel();
	}

	/** Never rejects. */
	async #look(): Promise<void> {
		const { isSound, queue } = this.#options;
		if (!isSound()) return;
		try {
			const space = await queue.control({ kind: 'check' });
			if (this.#stopped) return;
			// Only while the database is in its place: there is nothing to protect in another directory.
			this.#keepLock();
			if (this.#lockFailure === null) await this.#space.tend(space);
		} catch {
			// The store has heard of the failure from the writer's reply.
		}
	}

	#keepLock(): void {
		const { lock, onWarning } = this.#options;
		try {
			if (lock.keep() === 'retaken') onWarning?.('relay.lock was removed or replaced; the data directory is locked again', {});
			this.#lockFailure = null;
		} catch (thrown) {
			this.#lockFailure = describeFailure(thrown);
		}
	}
}

function ignore(): void {}
