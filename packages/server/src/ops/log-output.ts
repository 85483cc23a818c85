/**
 * Where the log goes: standard output, whatever that is. A line is never worth the service: on a full disk, to a reader that has gone or
 * to one that stands still, lines are lost rather than waited for; they are counted, and the log says so once lines can be written again.
 */

import type { Clock } from '../ports/clock.ts';

/** Bytes that may wait for a reader that does not keep up. */
const WAITING_BYTES_MAX = 256 * 1024;
/** How soon lines that wait are tried again. */
const RETRY_MS = 50;
/** How soon it is tried again to say that lines were lost. */
const NOTICE_RETRY_MS = 1000;
const FLUSH_LOOK_MS = 10;

/** Somewhere that bytes can be written to without waiting. */
export interface LogDestination {
	/** Writes what can be written at once and returns how many bytes that was; 0 when the reader does not keep up. Throws when it fails. */
	write(bytes: Uint8Array): number;
	/** Whether bytes that were taken have not reached the operating system. */
	readonly busy: boolean;
}

interface WaitingLine {
	readonly bytes: Uint8Array;
	/** Its beginning was written: the rest must come next. */
	readonly torn: boolean;
}

export class LogOutput {
	/** Called with the number of lost lines when lines can be written again. It may write a line about it. */
	onRecovery: (lostLines: number) => void = () => {};
	readonly #destination: LogDestination;
	readonly #clock: Clock;
	#waiting: WaitingLine[] = [];
	#waitingBytes = 0;
	#lostLines = 0;
	/** Lost lines of which the log does not say anything yet. */
	#unreported = 0;
	/** While the line about lost lines is written: whether it was lost, too. */
	#notice: { lost: boolean } | null = null;
	#retryDue = false;

	constructor(destination: LogDestination, clock: Clock) {
		this.#destination = destination;
		this.#clock = clock;
	}

	/** Lines that were lost since the start. */
	get lostLines(): number {
		return this.#lostLines;
	}

	/** Writes a line now if that is possible at once. Never throws and never waits. */
	write(line: string): void {
		const bytes = Buffer.from(line);
		if (this.#writeWaiting() === 'blocked') this.#wait({ bytes, torn: false });
		else this.#writeFirst({ bytes, torn: false });
		if (this.#unreported > 0 && this.#waiting.length === 0 && this.#notice === null) this.#reportLoss();
		this.#retryLater();
	}

	/** Resolves when nothing waits, or after the time. */
	async flush(timeoutMs: number): Promise<void> {
		const deadlineMs = this.#clock.monotonicMs() + timeoutMs;
		while (this.#writeWaiting() === 'blocked' || this.#destination.busy) {
			if (this.#clock.monotonicMs() >= deadlineMs) return;
			await new Promise((resolve) => setTimeout(resolve, FLUSH_LOOK_MS));
		}
	}

	#writeWaiting(): 'free' | 'blocked' {
		for (let first = this.#waiting[0]; first !== undefined; first = this.#waiting[0]) {
			const taken = this.#tryWrite(first.bytes);
			if (taken === 'failed') {
				this.#loseWaiting();
				break;
			}
			this.#waitingBytes -= taken;
			if (taken === first.bytes.byteLength) {
				this.#waiting.shift();
				continue;
			}
			if (taken > 0) this.#waiting[0] = { bytes: first.bytes.subarray(taken), torn: true };
			break;
		}
		return this.#waiting.length === 0 ? 'free' : 'blocked';
	}

	/** Nobody reads any more, or nothing can be stored: only the rest of a line that has begun is worth keeping. */
	#loseWaiting(): void {
		const torn = this.#waiting.filter((line) => line.torn);
		for (let i = torn.length; i < this.#waiting.length; i++) this.#lose();
		this.#waiting = torn;
		this.#waitingBytes = torn.reduce((sum, { bytes }) => sum + bytes.byteLength, 0);
	}

	#writeFirst(line: WaitingLine): void {
		const taken = this.#tryWrite(line.bytes);
		if (taken === 'failed') this.#lose();
		else if (taken < line.bytes.byteLength) this.#wait({ bytes: line.bytes.subarray(taken), torn: taken > 0 });
	}

	#tryWrite(bytes: Uint8Array): number | 'failed' {
		let taken = 0;
		try {
			while (taken < bytes.byteLength) {
				const count = this.#destination.write(bytes.subarray(taken));
				if (count === 0) break;
				taken += count;
			}
		} catch {
			// A full disk, a reader that has gone: there is nowhere to say so, and it is counted.
			if (taken === 0) return 'failed';
		}
		return taken;
	}

	#wait(line: WaitingLine): void {
		if (!line.torn && this.#waitingBytes + line.bytes.byteLength > WAITING_BYTES_MAX) {
			this.#lose();
			return;
		}
		this.#waiting.push(line);
		this.#waitingBytes += line.bytes.byteLength;
	}

	#lose(): void {
		if (this.#notice !== null) {
			this.#notice.lost = true;
			return;
		}
		this.#lostLines++;
		this.#unreported++;
	}

	#reportLoss(): void {
		const lines = this.#unreported;
		const notice = { lost: false };
		this.#notice = notice;
		this.onRecovery(lines);
		this.#notice = null;
		if (!notice.lost) this.#unreported -= lines;
	}

	#retryLater(): void {
		if (this.#retryDue || (this.#waiting.length === 0 && this.#unreported === 0)) return;
		this.#retryDue = true;
		this.#clock.after(this.#waiting.length > 0 ? RETRY_MS : NOTICE_RETRY_MS, () => {
			this.#retryDue = false;
			if (this.#writeWaiting() === 'free' && this.#unreported > 0) this.#reportLoss();
			this.#retryLater();
		});
	}
}
