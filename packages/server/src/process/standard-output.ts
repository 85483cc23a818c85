/** Standard output as a destination of the log: a file, a terminal, a pipe or a socket, written to without waiting for its reader. */

import { constants, fstatSync, openSync, writeSync } from 'node:fs';
import { isatty } from 'node:tty';
import type { LogDestination } from '../ops/log-output.ts';

/** Its file descriptor. */
export const STANDARD_OUTPUT = 1;

/** Standard output, without waiting for whoever reads it. */
export function standardOutput(): LogDestination {
	const fd = STANDARD_OUTPUT;
	const kind = fstatSync(fd);
	if (kind.isSocket()) return streamDestination(process.stdout);
	if (!kind.isFIFO() && !isatty(fd)) return fileDestination(fd);
	const own = reopened(fd);
	if (own !== null) return fileDestination(own);
	return kind.isFIFO() ? streamDestination(process.stdout) : fileDestination(fd);
}

/** The same pipe or terminal once more, for this process alone: that it does not block is no business of others that write to it. */
function reopened(fd: number): number | null {
	try {
		return openSync(`/proc/self/fd/${fd}`, constants.O_WRONLY | constants.O_NONBLOCK | constants.O_NOCTTY);
	} catch {
		// Not on every system, and not where the pipe belongs to another user.
		return null;
	}
}

function fileDestination(fd: number): LogDestination {
	return {
		busy: false,
		write(bytes) {
			try {
				return writeSync(fd, bytes);
			} catch (error) {
				if (error instanceof Error && 'code' in error && error.code === 'EAGAIN') return 0;
				throw error;
			}
		},
	};
}

function streamDestination(stream: NodeJS.WriteStream): LogDestination {
	let failure: Error | null = null;
	stream.on('error', (error) => {
		failure = error;
	});
	return {
		get busy() {
			return failure === null && stream.writableLength > 0;
		},
		write(bytes) {
			if (failure !== null) throw failure;
			// One line may wait in the stream; the others wait where they are counted.
			if (stream.writableLength > 0) return 0;
			stream.write(bytes);
			return bytes.byteLength;
		},
	};
}
