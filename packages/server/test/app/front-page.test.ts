/** `/`: the page that people see who open the relay's address, and the JSON that programs get. */

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { test } from 'node:test';
import { promisify } from 'node:util';
import { startAuthRelay } from '../support/auth-relay.ts';
import { chromiumUnavailable, withPage } from '../support/chromium.ts';
import { send } from '../support/http-client.ts';
import { startRelay } from '../support/relay.ts';

test('is a page that loads nothing, with links that lead somewhere', async (t) => {
	const relay = await startRelay({ PULSAR_STORAGE_BACKEND: 'memory' });
	t.after(() => relay.close());
	const page = await send(`${relay.url}/`, { headers: { accept: 'text/html,application/xhtml+xml,*/*;q=0.8' } });
	assert.equal(page.status, 200);
	assert.equal(page.headers.get('content-type'), 'text/html; charset=utf-8');
	assert.equal(page.headers.get('vary'), 'Accept');
	assert.match(
		page.headers.get('content-security-policy') ?? '',
		/^default-src 'none'; style-src 'sha256-[^']+'; .*frame-ancestors 'none'/,
	);
	assert.equal(page.headers.get('x-content-type-options'), 'nosniff');
	assert.doesNotMatch(page.text, /<script|src=/);
	const links = [...page.text.matchAll(/href="([^"]+)"/g)].map(([, href = '']) => href).filter((href) => href !== 'data:,');
	assert.deepEqual(links, ['docs', 'openapi.json', 'health', 'ready']);
	for (const link of links) assert.equal((await send(new URL(link, `${relay.url}/`).href)).status, 200, link);
});

test('has the host under which it was asked for, as text whatever it is', async (t) => {
	const relay = await startRelay({ PULSAR_STORAGE_BACKEND: 'memory', PULSAR_TRUSTED_HOSTS: '["*"]' });
	t.after(() => relay.close());
	const { port } = new URL(relay.url);
	const { stdout } = await promisify(execFile)('curl', [
		'-s',
		'-H',
		'Host: relay.example.org',
		'-H',
		'X-Forwarded-Proto: https',
		`http://127.0.0.1:${port}/`,
	]);
	assert(stdout.includes('curl -X POST https://relay.example.org/api/v1/messages'), stdout);
});

test('is JSON for clients that ask for it, the page for all others, and answers HEAD', async (t) => {
	const relay = await startRelay({ PULSAR_STORAGE_BACKEND: 'memory' });
	t.after(() => relay.close());
	const type = async (accept: string, method = 'GET') => {
		const answer = await send(`${relay.url}/`, { method, headers: { accept } });
		assert.equal(answer.status, 200);
		return answer.headers.get('content-type');
	};
	assert.match((await type('application/json')) ?? '', /^application\/json/);
	assert.match((await type('*/*')) ?? '', /^text\/html/);
	assert.match((await type('text/html, application/json;q=0.1')) ?? '', /^text\/html/);
	assert.match((await type('text/html', 'HEAD')) ?? '', /^text\/html/);
	const { name, docs } = (await send(`${relay.url}/`, { headers: { accept: 'application/json' } })).json();
	assert.deepEqual([typeof name, docs], ['string', 'docs']);
	assert.equal((await send(`${relay.url}/`, { method: 'POST' })).status, 405);
});

test('shows how to sign in where there are accounts', { skip: chromiumUnavailable }, async (t) => {
	const world = await startAuthRelay();
	t.after(() => world.close());
	await withPage(async (page) => {
		const problems: string[] = [];
		page.on('console', (message) => problems.push(message.text()));
		page.on('pageerror', (error) => problems.push(error.message));
		await page.goto(`${world.url}/`);
		const commands = await page.locator('pre').allInnerTexts();
		assert.equal(commands.length, 3);
		const [signIn = '', watch = '', publish = ''] = commands;
		assert(watch.includes('Bearer $TOKEN') && watch.includes(world.url));
		const script = `${signIn.replace('NAME', 'root').replace('PASSWORD', world.admin.password)}\n${publish}`;
		const { stdout } = await promisify(execFile)('sh', ['-c', script]);
		assert.equal((JSON.parse(stdout) as { topic: string }).topic, 'hello');
		await page.getByRole('link', { name: 'API documentation' }).click();
		await page.getByText('Publishing messages').waitFor();
		assert.deepEqual(problems, []);
	});
});
