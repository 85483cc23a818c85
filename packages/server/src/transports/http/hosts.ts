/**
 * Under which names the relay is reached. A page of a foreign name that has been made to point here (DNS rebinding) is the relay's
 * own in the eyes of a browser; only the `Host` header tells.
 */

import { isIP } from 'node:net';

/** Whether a request for a path may come with this `Host` header. */
export type TrustsHost = (host: string | undefined, url: string) => boolean;

/** What is asked by address rather than by name: by orchestrators, load balancers and Prometheus. */
const OPERATIONS = /^\/(health|ready|metrics)\/?(\?|$)/;
const LOOPBACK = /^(localhost|.+\.localhost|127(\.\d{1,3}){3}|::1)$/;

export interface HostOptions {
	/** Names, addresses, `*.example.org` for each name below, `*` for all. */
	readonly trustedHosts: readonly string[];
	/** The address that is listened on. */
	readonly listenHost: string;
	readonly onLoopback: boolean;
}

/** Without a list, a relay that only this machine reaches is reached by no name but this machine's, and any other by all. */
export function trustedHosts({ trustedHosts, listenHost, onLoopback }: HostOptions): TrustsHost {
	if (trustedHosts.includes('*') || (trustedHosts.length === 0 && !onLoopback)) return () => true;
	const names = new Set(trustedHosts.map(hostnameOf));
	const suffixes = [...names].filter((name) => name.startsWith('*.')).map((name) => name.slice(1));
	if (names.size === 0) names.add(hostnameOf(listenHost));
	const trusts = (name: string) =>
		names.has(name) ||
		suffixes.some((suffix) => name.endsWith(suffix) && name.length > suffix.length) ||
		(trustedHosts.length === 0 && LOOPBACK.test(name));
	// Nearly every request comes with the host of the one before.
	let known = '';
	return (host, url) => {
		if (host !== undefined && host === known) return true;
		const name = hostnameOf(host ?? '');
		if (trusts(name)) {
			known = host ?? '';
			return true;
		}
		// No name leads to an address, and none is needed for HTTP/1.0: neither can be the page of a foreign name.
		return (name === '' || LOOPBACK.test(name) || isIP(name) !== 0) && OPERATIONS.test(url);
	};
}

/** The name or address in a `Host` header: without port and brackets, in lower case, without the dot of the root. */
export function hostnameOf(host: string): string {
	const [, inBrackets, bare = ''] = /^(?:\[([^\]]*)\]|([^:]*|[^:]*(?::[^:]*){2,}))(?::\d*)?$/.exec(host) ?? [];
	const name = inBrackets ?? bare;
	// An IPv6 address has many spellings.
	if (name.includes(':')) return URL.parse(`http://[${name}]`)?.hostname.slice(1, -1) ?? name;
	return name.toLowerCase().replace(/\.$/, '');
}
