/** A real Chromium, for what only a browser can show. */

import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { chromium, type Page } from 'playwright-core';

const CHROMIUM = ['/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'].find((path) => existsSync(path));
/** Without a sandbox because tests may run as root; without background requests because they may run without a network. */
const ARGS = [
	'--no-sandbox',
	'--disable-gpu',
	'--disable-quic',
	'--no-first-run',
	'--disable-background-networking',
	'--disable-component-update',
	'--disable-sync',
];

/** Why tests that need it are skipped, or false; where it must be there they fail instead. */
export const chromiumUnavailable =
	CHROMIUM === undefined && process.env['CI'] === undefined ? 'no Chromium on this machine (apt-get install chromium)' : false;

/** Opens an empty page of a browser of its own, and closes the browser when `run` has ended. */
export async function withPage(
	run: (page: Page) => Promise<void>,
	options: { readonly ignoreHTTPSErrors?: boolean } = {},
): Promise<void> {
	assert(CHROMIUM !== undefined, 'no Chromium; .ci/run installs it');
	const browser = await chromium.launch({ executablePath: CHROMIUM, args: ARGS });
	try {
		await run(await browser.newPage(options));
	} finally {
		await browser.close();
	}
}
