/** Signing in by a real browser: the device's page by password and at a real provider, and what other pages cannot make it do. */

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { after, before, describe, test } from 'node:test';
import type { Page } from 'playwright-core';
import { type AuthRelay, type Person, startAuthRelay } from '../support/auth-relay.ts';
import { chromiumUnavailable, withPage } from '../support/chromium.ts';
import { type Answer, send } from '../support/http-client.ts';
import { CLIENT_ID, CLIENT_SECRET, type IdentityProvider, startIdentityProvider } from '../support/identity-provider.ts';
import { freePort } from '../support/valkey.ts';

let provider: IdentityProvider;
let world: AuthRelay;
let bob: Person;

describe('in a browser', { skip: chromiumUnavailable }, () => {
	before(async () => {
		const port = await freePort();
		const base = `http://127.0.0.1:${port}`;
		provider = await startIdentityProvider({ redirectUris: [`${base}/auth/oidc/example/callback`] });
		world = await startAuthRelay({
			PULSAR_PORT: String(port),
			PULSAR_OIDC__ENABLED: '1',
			PULSAR_OIDC__BASE_URL: base,
			PULSAR_OIDC__PROVIDERS__EXAMPLE__DISPLAY_NAME: 'Example ID',
			PULSAR_OIDC__PROVIDERS__EXAMPLE__CLIENT_ID: CLIENT_ID,
			PULSAR_OIDC__PROVIDERS__EXAMPLE__CLIENT_SECRET: CLIENT_SECRET,
			PULSAR_OIDC__PROVIDERS__EXAMPLE__DISCOVERY_URL: provider.discoveryUrl,
		});
		bob = await world.person('bob');
	});
	after(async () => {
		await world.close();
		await provider.close();
	});

	test('a device is approved by password, by keyboard alone, after a wrong one', async () => {
		const { verification_uri, user_code, device_code } = await begin();
		await onPage(async (page) => {
			await page.goto(verification_uri);
			// The field has the focus already.
			await page.keyboard.type(user_code.toLowerCase().replace('-', ''));
			await page.keyboard.press('Enter');
			await page.getByRole('heading', { name: 'Sign in to connect a device' }).waitFor();
			assert.equal(await page.locator('dd.code').innerText(), user_code);
			await page.getByLabel('Username').fill('bob');
			await page.getByLabel('Password').fill('wrong');
			await page.keyboard.press('Enter');
			await page.getByRole('alert').waitFor();
			await page.getByLabel('Username').fill('bob');
			await page.getByLabel('Password').fill(bob.password);
			await page.keyboard.press('Enter');
			await page.getByRole('heading', { name: 'Connect this device?' }).waitFor();
			assert.match(await page.locator('dl').innerText(), /example program[\s\S]*bob/);
			await page.keyboard.press('Tab');
			assert.equal(await page.locator(':focus').innerText(), 'Approve');
			await page.keyboard.press('Enter');
			await page.getByRole('heading', { name: 'Sign-in complete' }).waitFor();
			assert.equal(await page.locator('html').getAttribute('lang'), 'en');
			assert.equal(await page.locator('h1').count(), 1);
		});
		assert.equal(await usernameOf(await poll(device_code)), 'bob');
	});

	test('a device is denied', async () => {
		const { verification_uri_complete, device_code } = await begin();
		await onPage(async (page) => {
			await page.goto(verification_uri_complete);
			await page.getByLabel('Username').fill('bob');
			await page.getByLabel('Password').fill(bob.password);
			await page.getByRole('button', { name: 'Sign in', exact: true }).click();
			await page.getByRole('button', { name: 'Deny' }).click();
			await page.getByRole('heading', { name: 'Request denied' }).waitFor();
		});
		assert.equal((await poll(device_code)).json()['error'], 'access_denied');
	});

	test('a device is approved by somebody who signs in at the provider', async () => {
		const { verification_uri_complete, device_code } = await begin();
		await onPage(async (page) => {
			await page.goto(verification_uri_complete);
			await page.getByRole('link', { name: 'Sign in with Example ID' }).click();
			await signInAtProvider(page, 'ann');
			await page.getByRole('heading', { name: 'Connect this device?' }).waitFor();
			assert.match(await page.locator('dl').innerText(), /ann@example\.org/);
			await page.getByRole('button', { name: 'Approve' }).click();
			await page.getByRole('heading', { name: 'Sign-in complete' }).waitFor();
		});
		assert.equal(await usernameOf(await poll(device_code)), 'ann@example.org');
	});

	test('whoever signs in without a device gets tokens, or goes back to a page of the relay', async () => {
		await onPage(async (page) => {
			await page.goto(`${world.url}/auth/oidc/example/login`);
			await signInAtProvider(page, 'ann');
			await page.waitForURL(`${world.url}/auth/oidc/example/callback?*`);
			const tokens = JSON.parse(await page.locator('body').innerText()) as { access_token: string };
			assert.equal((await world.call('GET', '/auth/me', tokens.access_token)).json()['username'], 'ann@example.org');
			assert.deepEqual(await page.context().cookies(`${world.url}/auth/oidc`).then(names), [], 'what the sign-in took is gone');
			// The provider knows the browser now, and asks nothing.
			await page.goto(`${world.url}/auth/oidc/example/login?next=/health`);
			await page.waitForURL(`${world.url}/health?sign_in_code=*`);
		});
	});

	test('a link that somebody was sent approves nothing, though the provider asks nothing', async () => {
		const { user_code, device_code } = await begin();
		await onPage(async (page) => {
			await page.goto(`${world.url}/auth/oidc/example/login`);
			await signInAtProvider(page, 'victim');
			await page.waitForURL(`${world.url}/auth/oidc/example/callback?*`);
			await page.goto(`${world.url}/auth/oidc/example/login?device_user_code=${user_code}`);
			await page.getByRole('heading', { name: 'Connect this device?' }).waitFor();
		});
		assert.equal((await poll(device_code)).json()['error'], 'authorization_pending');
	});

	test("another site's page can neither sign in, nor decide, nor show the page in a frame", async () => {
		const { user_code, device_code } = await begin();
		const ticketPage = await send(`${world.url}/auth/device`, {
			method: 'POST',
			body: new URLSearchParams({ user_code, username: 'bob', password: bob.password }),
		});
		const [, ticket = ''] = /name="ticket" value="([\w-]+)"/.exec(ticketPage.text) ?? [];
		assert.notEqual(ticket, '');
		const evil = createServer((request, response) => {
			const fields =
				request.url === '/decide' ? { ticket, decision: 'approve' } : { user_code, username: 'bob', password: bob.password };
			const action = `${world.url}/auth/device${request.url === '/decide' ? '/decision' : ''}`;
			const inputs = Object.entries(fields).map(([name, value]) => `<input name="${name}" value="${value}">`);
			const form = `<form method="post" action="${action}">${inputs.join('')}</form><script>document.forms[0].submit()</script>`;
			const frame = `<iframe src="${world.url}/auth/device?user_code=${user_code}"></iframe>`;
			response.setHeader('content-type', 'text/html').end(request.url === '/frame' ? frame : form);
		}).listen(0, '127.0.0.1');
		await once(evil, 'listening');
		const { port } = evil.address() as AddressInfo;
		await withPage(async (page) => {
			for (const [host, path] of [
				['localhost', '/decide'],
				['127.0.0.1', '/decide'],
				['localhost', '/sign-in'],
			]) {
				await page.goto(`http://${host}:${port}${path}`);
				await page.getByText('The form was sent by a page of another site.').waitFor();
			}
			const refused = page.waitForEvent('console', (message) => message.text().includes('frame-ancestors'));
			await page.goto(`http://localhost:${port}/frame`);
			await refused;
		});
		evil.closeAllConnections();
		evil.close();
		assert.equal((await poll(device_code)).json()['error'], 'authorization_pending');
	});

	test('a failure at the provider is told on a page', async () => {
		await onPage(
			async (page) => {
				await page.goto(`${world.url}/auth/oidc/example/login`);
				await page.getByText('[ Cancel ]').click();
				await page.getByRole('heading', { name: 'Sign-in failed' }).waitFor();
			},
			{ failures: true },
		);
	});
});

interface Codes {
	readonly device_code: string;
	readonly user_code: string;
	readonly verification_uri: string;
	readonly verification_uri_complete: string;
}

async function begin(): Promise<Codes> {
	const body = new URLSearchParams({ client_hint: 'example program' });
	return (await send(`${world.url}/auth/device/code`, { method: 'POST', body })).json<Codes>();
}

function poll(deviceCode: string): Promise<Answer> {
	const body = new URLSearchParams({ grant_type: 'urn:ietf:params:oauth:grant-type:device_code', device_code: deviceCode });
	return send(`${world.url}/auth/device/token`, { method: 'POST', body });
}

async function usernameOf(answer: Answer): Promise<unknown> {
	assert.equal(answer.status, 200, answer.text);
	return (await world.call('GET', '/auth/me', answer.json<{ access_token: string }>().access_token)).json()['username'];
}

function names(cookies: readonly { readonly name: string }[]): string[] {
	return cookies.map(({ name }) => name).filter((name) => name.includes('pulsar'));
}

async function signInAtProvider(page: Page, login: string): Promise<void> {
	await page.getByPlaceholder('Enter any login').fill(login);
	await page.getByPlaceholder('and password').fill('any');
	await page.getByRole('button', { name: 'Sign-in' }).click();
	await page.getByRole('button', { name: 'Continue' }).click();
}

/** On an empty page, on which the relay's own pages must break no rule of their own. What is from elsewhere is not loaded. */
async function onPage(run: (page: Page) => Promise<void>, { failures = false } = {}): Promise<void> {
	const told: string[] = [];
	await withPage(async (page) => {
		await page.route(
			({ hostname }) => hostname !== '127.0.0.1',
			(route) => route.abort(),
		);
		page.on('console', (message) => {
			if (message.location().url.startsWith(world.url)) told.push(message.text());
		});
		page.on('pageerror', (error) => told.push(String(error)));
		await run(page);
	});
	const unexpected = told.filter((text) => !(failures || text.includes('401')) || text.includes('Content Security Policy'));
	assert.deepEqual(unexpected, []);
}
