/** Another time for one process, by a library that is loaded before it: its steady clock, and with it its timers, stay as they are. */

import { globSync } from 'node:fs';

const LIBRARIES = '/usr/lib/*/faketime/libfaketimeMT.so.1';

/** Why tests with another time are to be skipped, or null. Never on CI. */
export function faketimeUnavailable(): string | null {
	return process.env['CI'] !== undefined || libraryOf() !== undefined ? null : 'no libfaketime (apt-get install libfaketime)';
}

/** The environment of a process whose wall clock is off by so many seconds. */
export function timeOffBy(seconds: number): Readonly<Record<string, string>> {
	return {
		LD_PRELOAD: libraryOf() ?? LIBRARIES,
		FAKETIME: `${seconds < 0 ? '' : '+'}${seconds}`,
		FAKETIME_DONT_FAKE_MONOTONIC: '1',
	};
}

function libraryOf(): string | undefined {
	return globSync(LIBRARIES)[0];
}
