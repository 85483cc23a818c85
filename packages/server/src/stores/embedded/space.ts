/**
 * Giving space back to the file system, from the main thread: in small steps between the appends, once much of the file is free. Files of
 * version 0.3 and before cannot do that until they are written anew, once, at a quiet moment.
 */

import { statfs } from 'node:fs/promises';
import type { Clock } from '../../ports/clock.ts';
import type { NoticeListener } from './files.ts';
import type { SpaceReport } from './messages.ts';
import type { WriteQueue } from './write-queue.ts';

const MIB = 1024 * 1024;
/** Free space that is kept for what comes next: so much, or an eighth of what is in use. Steps begin at twice that. */
const KEPT_FREE_BYTES_MIN = 4 * MIB;
const KEPT_FREE_PART = 8;
/** A file with more in it is not written anew: publishing waits meanwhile, about a second for this much on an SSD. */
const REWRITE_BYTES_MAX = 256 * MIB;
/** A copy and the WAL, each as large as what is in use, and something to go on with. */
const REWRITE_ROOM_FACTOR = 2;
const REWRITE_ROOM_SPARE_BYTES = 64 * MIB;
/** A quiet moment is waited for so long; and after a rewrite that was not possible, until the next try. */
const QUIET_WAIT_MS = 60_000;
const REWRITE_AGAIN_MS = 600_000;

export interface SpaceOptions {
	readonly dataDir: string;
	readonly clock: Clock;
	readonly queue: Pick<WriteQueue, 'control' | 'isIdle'>;
	readonly onNotice: NoticeListener;
	readonly onWarning: NoticeListener;
}

export class Space {
	readonly #options: SpaceOptions;
	#report: SpaceReport = { fileBytes: 0, freeBytes: 0, usedBytes: 0, inSteps: true };
	#stopped = false;
	/** Monotonic times: since when a quiet moment is waited for, and from when on a rewrite may be tried. */
	#waitingSinceMs: number | null = null;
	#rewriteFromMs = 0;
	#refusal: string | null = null;

	constructor(options: SpaceOptions) {
		this.#options = options;
	}

	get report(): SpaceReport {
		return this.#report;
	}

	stop(): void {
		this.#stopped = true;
	}

	/** Does what is due by a new report. Rejects when the store fails, which its other calls find out as well. */
	async tend(report: SpaceReport): Promise<void> {
		this.#report = report;
		if (!report.inSteps) await this.#rewriteOnce(report);
		else if (report.freeBytes > 2 * keptFree(report)) await this.#reclaim();
	}

	async #reclaim(): Promise<void> {
		const { queue, clock } = this.#options;
		while (!this.#stopped && this.#report.freeBytes > keptFree(this.#report)) {
			this.#report = await queue.control({ kind: 'reclaim' });
			// Appends have their turn between two steps.
			await new Promise<void>((resolve) => clock.soon(resolve));
		}
		if (!this.#stopped) this.#report = await queue.control({ kind: 'checkpoint' });
	}

	async #rewriteOnce(report: SpaceReport): Promise<void> {
		const { clock, queue, onNotice, onWarning } = this.#options;
		const nowMs = clock.monotonicMs();
		if (nowMs < this.#rewriteFromMs) return;
		const refusal = await this.#whyNotRewrite(report);
		if (refusal !== null) {
			this.#rewriteFromMs = nowMs + REWRITE_AGAIN_MS;
			if (refusal !== this.#refusal)
				onWarning(`the file is of an earlier version and gives no space back until it is written anew: ${refusal}`, {});
			this.#refusal = refusal;
			return;
		}
		this.#waitingSinceMs ??= nowMs;
		if (!queue.isIdle && nowMs < this.#waitingSinceMs + QUIET_WAIT_MS) return;
		onNotice('writing the file anew, once, so that it can give space back; publishing waits meanwhile', {
			used_mib: Math.ceil(report.usedBytes / MIB),
			free_mib: Math.ceil(report.freeBytes / MIB),
		});
		const { failure, space } = await queue.control({ kind: 'vacuum' });
		this.#report = space;
		const tookMs = Math.round(clock.monotonicMs() - nowMs);
		if (failure === null) {
			onNotice('the file was written anew', { took_ms: tookMs });
			return;
		}
		this.#rewriteFromMs = clock.monotonicMs() + REWRITE_AGAIN_MS;
		onWarning(`the file could not be written anew, and stays as it was: ${failure.reason}`, { took_ms: tookMs });
	}

	/** Why the file is not written anew now, or null. */
	async #whyNotRewrite({ usedBytes }: SpaceReport): Promise<string | null> {
		if (usedBytes > REWRITE_BYTES_MAX) {
			return `${Math.ceil(usedBytes / MIB)} MiB are in use, and publishing would wait too long for more than ${REWRITE_BYTES_MAX / MIB}`;
		}
		const { bavail, bsize } = await statfs(this.#options.dataDir);
		const neededBytes = REWRITE_ROOM_FACTOR * usedBytes + REWRITE_ROOM_SPARE_BYTES;
		if (bavail * bsize >= neededBytes) return null;
		return `that needs ${Math.ceil(neededBytes / MIB)} MiB of free disk, and there are ${Math.floor((bavail * bsize) / MIB)}`;
	}
}

function keptFree({ usedBytes }: SpaceReport): number {
	return Math.max(KEPT_FREE_BYTES_MIN, usedBytes / KEPT_FREE_PART);
}
