/** The pages on which somebody lets a device in: the code, the sign-in, the decision, and how it ended. */

import type { PendingDevice } from '../../auth/device-flow.ts';
import { type Html, html, page, problem } from './pages.ts';

/** What all of these pages need. */
export interface DevicePages {
	/** What the relay is called. */
	readonly relay: string;
	/** The path under which browsers reach the relay: empty, or `/relay`. */
	readonly path: string;
	/** The providers that people may sign in at. */
	readonly providers: readonly { readonly name: string; readonly displayName: string }[];
}

/** Asks for the code. */
export function codePage({ relay, path }: DevicePages, wrong: string | null = null): string {
	return page(
		relay,
		'Connect a device',
		html`${wrong === null ? null : problem(wrong)}
<form method="get" action="${path}/auth/device">
<label for="user_code">Code shown on the device</label>
<input class="code" id="user_code" name="user_code" required autofocus maxlength="16" placeholder="XXXX-XXXX" autocomplete="off" autocapitalize="characters" spellcheck="false">
<button class="main">Continue</button>
</form>`,
	);
}

/** Asks who it is that would let the device in. */
export function signInPage({ relay, path, providers }: DevicePages, device: PendingDevice, wrong: string | null = null): string {
	const query = encodeURIComponent(device.userCode);
	return page(
		relay,
		'Sign in to connect a device',
		html`${describe(device)}
${wrong === null ? null : problem(wrong)}
${providers.map(({ name, displayName }) => html`<a class="button" href="${path}/auth/oidc/${name}/login?device_user_code=${query}">Sign in with ${displayName}</a>\n`)}
${providers.length === 0 ? null : html`<p class="or">Or with a password of this relay:</p>`}
<form method="post" action="${path}/auth/device">
<input type="hidden" name="user_code" value="${device.userCode}">
<label for="username">Username</label>
<input id="username" name="username" required autocomplete="username" autocapitalize="none" spellcheck="false">
<label for="password">Password</label>
<input id="password" name="password" type="password" required autocomplete="current-password">
<button class="main">Sign in</button>
</form>`,
	);
}

/** Asks for the decision. */
export function decisionPage(
	{ relay, path }: DevicePages,
	device: PendingDevice,
	who: { readonly username: string; readonly ticket: string },
): string {
	return page(
		relay,
		'Connect this device?',
		html`${describe(device, html`<dt>Account</dt><dd>${who.username}</dd>`)}
<p>It will be able to do whatever this account may, until its session is ended. Approve only if you have started this yourself just now, and
the device shows this code.</p>
<form method="post" action="${path}/auth/device/decision">
<input type="hidden" name="ticket" value="${who.ticket}">
<button class="main" name="decision" value="approve">Approve</button>
<button name="decision" value="deny">Deny</button>
</form>`,
	);
}

/** Tells how it ended. */
export function decidedPage({ relay }: DevicePages, decision: 'approve' | 'deny', clientHint: string | null): string {
	const device = clientHint ?? 'The device';
	return decision === 'approve'
		? page(relay, 'Sign-in complete', html`<p>${device} is connected. You can close this page and go back to it.</p>`)
		: page(relay, 'Request denied', html`<p>${device} was not connected. You can close this page.</p>`);
}

/** Tells why something did not come about. */
export function problemPage({ relay, path }: DevicePages, title: string, text: string): string {
	return page(relay, title, html`${problem(text)}<a class="button" href="${path}/auth/device">Enter a code</a>`);
}

function describe({ userCode, clientHint }: PendingDevice, more: Html | null = null): Html {
	return html`<dl>
<dt>Code</dt><dd class="code">${userCode}</dd>
${clientHint === null ? null : html`<dt>Device</dt><dd>${clientHint}</dd>`}
${more}
</dl>`;
}
