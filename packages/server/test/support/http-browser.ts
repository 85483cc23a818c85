/** As much of a browser as signing in takes: cookies by origin, redirects one at a time, forms. */

import assert from 'node:assert/strict';

export interface Visit {
	readonly url: string;
	readonly status: number;
	readonly headers: Headers;
	readonly text: string;
	/** Where it leads, in full; null when nowhere. */
	readonly location: string | null;
}

export class HttpBrowser {
	readonly #cookies = new Map<string, { readonly value: string; readonly path: string }>();
	readonly #accept: string;

	constructor(accept = '*/*') {
		this.#accept = accept;
	}

	/** Opens an address; goes nowhere by itself. */
	async open(url: string, form?: Readonly<Record<string, string>>): Promise<Visit> {
		const { origin, pathname } = new URL(url);
		const cookies = [...this.#cookies].filter(([key, { path }]) => key.startsWith(`${origin} `) && pathname.startsWith(path));
		const response = await fetch(url, {
			redirect: 'manual',
			headers: {
				accept: this.#accept,
				cookie: cookies.map(([key, { value }]) => `${key.slice(origin.length + 1)}=${value}`).join('; '),
			},
			...(form === undefined ? {} : { method: 'POST', body: new URLSearchParams(form) }),
		});
		for (const line of response.headers.getSetCookie()) this.#keep(origin, line);
		const location = response.headers.get('location');
		return {
			url,
			status: response.status,
			headers: response.headers,
			text: await response.text(),
			location: location === null ? null : new URL(location, url).href,
		};
	}

	/** Opens an address and goes on until an address that begins with `until` is next; gives that one. At the provider it signs in. */
	async signIn(url: string, login: string, until: string): Promise<string> {
		let visit = await this.open(url);
		for (let step = 0; step < 20; step++) {
			if (visit.location?.startsWith(until)) return visit.location;
			if (visit.location !== null) visit = await this.open(visit.location);
			else visit = await this.open(...this.#fillIn(visit, login));
		}
		assert.fail(`it did not come to ${until}: ${visit.url} ${visit.status} ${visit.text}`);
	}

	/** Takes a cookie away or gives another value. */
	cookie(origin: string, name: string, value?: string): string | undefined {
		const key = `${origin} ${name}`;
		const before = this.#cookies.get(key);
		if (value !== undefined) this.#cookies.set(key, { value, path: before?.path ?? '/' });
		return before?.value;
	}

	#fillIn({ url, status, text }: Visit, login: string): [url: string, form: Record<string, string>] {
		const [, action] = /<form[^>]* action="([^"]+)"/.exec(text) ?? [];
		const [, prompt] = /name="prompt" value="(\w+)"/.exec(text) ?? [];
		assert(action !== undefined && prompt !== undefined, `no form of the provider: ${url} ${status} ${text}`);
		return [new URL(action, url).href, { prompt, ...(prompt === 'login' ? { login, password: 'any' } : {}) }];
	}

	#keep(origin: string, line: string): void {
		const [pair = '', ...attributes] = line.split(/; */);
		const equals = pair.indexOf('=');
		const path = attributes.find((attribute) => /^path=/i.test(attribute))?.slice(5) ?? '/';
		const gone = attributes.some((attribute) => /^(max-age=0|expires=Thu, 01 Jan 1970)/i.test(attribute));
		const key = `${origin} ${pair.slice(0, equals)}`;
		if (gone) this.#cookies.delete(key);
		else this.#cookies.set(key, { value: pair.slice(equals + 1), path });
	}
}
