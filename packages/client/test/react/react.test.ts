/** The React bindings, in Chromium. */

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer, request as forward } from 'node:http';
import { type AddressInfo, connect as dial } from 'node:net';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { rolldown } from 'rolldown';
import { chromiumUnavailable, withPage } from '../../../server/test/support/chromium.ts';
import { startRelay } from '../../../server/test/support/relay.ts';

async function bundle(): Promise<string> {
	const build = await rolldown({
		input: fileURLToPath(new URL('page.ts', import.meta.url)),
		platform: 'browser',
		transform: { define: { 'process.env.NODE_ENV': '"development"' } },
	});
	const { output } = await build.generate({ format: 'iife' });
	return output[0].code;
}

test('components share one read, StrictMode connects once, and the last one that leaves ends it', {
	skip: chromiumUnavailable,
}, async () => {
	const relay = await startRelay();
	const script = await bundle();
	const upgrades: string[] = [];
	const server = createServer((incoming, outgoing) => {
		if (incoming.url === '/page')
			outgoing.writeHead(200, { 'content-type': 'text/html' }).end('<div id="root"></div><script src="/page.js"></script>');
		else if (incoming.url === '/page.js') outgoing.writeHead(200, { 'content-type': 'text/javascript' }).end(script);
		else
			incoming.pipe(
				forward(`${relay.url}${incoming.url}`, { method: incoming.method, headers: incoming.headers }, (answer) =>
					answer.pipe(outgoing),
				),
			);
	});
	server.on('upgrade', (incoming, socket) => {
		upgrades.push(incoming.url ?? '');
		const upstream = dial(Number(new URL(relay.url).port), '127.0.0.1', () => {
			const headers = incoming.rawHeaders.flatMap((text, i) => (i % 2 === 0 ? [`${text}: ${incoming.rawHeaders[i + 1]}`] : []));
			upstream.write(`GET ${incoming.url} HTTP/1.1\r\n${headers.join('\r\n')}\r\n\r\n`);
			upstream.pipe(socket).pipe(upstream);
		});
		socket.on('error', () => upstream.destroy());
		upstream.on('error', () => socket.destroy());
	});
	server.listen(0, '127.0.0.1');
	await once(server, 'listening');
	await relay.publishMany('react', ['1', '2', '3', '4']);
	await withPage(async (page) => {
		const problems: string[] = [];
		page.on('pageerror', (error) => problems.push(String(error)));
		page.on('console', (message) => message.type() === 'error' && problems.push(message.text()));
		await page.goto(`http://127.0.0.1:${(server.address() as AddressInfo).port}/page`);
		const texts = (id: string) => page.locator(`#${id} li`).allTextContents();
		await page.locator('#one li', { hasText: '4' }).waitFor();
		assert.deepEqual(await texts('one'), ['2', '3', '4']);
		await relay.publish('react', '5');
		await page.locator('#two li', { hasText: '5' }).waitFor();
		assert.deepEqual(await texts('two'), ['3', '4', '5']);
		assert.equal(await page.locator('#status').textContent(), 'live over ws');
		assert.deepEqual(upgrades, ['/ws']);

		// Hidden and shown within the second in which the read is kept.
		await page.evaluate(() => {
			const button = (
				globalThis as unknown as { document: { getElementById(id: string): { click(): void } } }
			).document.getElementById('toggle');
			button.click();
			setTimeout(() => button.click(), 200);
		});
		await page.locator('#one li', { hasText: '5' }).waitFor();
		assert.deepEqual(upgrades, ['/ws']);

		await page.locator('#toggle').click();
		await page.locator('#status', { hasText: 'idle' }).waitFor();
		assert.deepEqual(
			problems.filter((text) => !text.includes('favicon')),
			[],
		);
	});
	server.closeAllConnections();
	server.close();
	await relay.close();
});
