/**
 * The values that are compared with what browsers, clients and proxies write: origins, host names, addresses, the base URL. Each is put
 * into the form in which those come, or refused with the reason: one that never matches would look like a relay that refuses everybody.
 */

import { masked } from './masked.ts';
import type { SettingValue } from './values.ts';

/** A value in its one form, or what is wrong with it: a clause that goes on after the value. */
type EdgeValue = { readonly value: string } | { readonly problem: string };

/** Puts the values that are good in the place of those given. Gives what is wrong with the others. */
export function normaliseEdge(values: Record<string, SettingValue>): string[] {
	const problems: string[] = [];
	const normalise = (name: string, text: string, read: (text: string) => EdgeValue): string => {
		const outcome = read(text.trim());
		if ('value' in outcome) return outcome.value;
		problems.push(`${name}: ${JSON.stringify(masked(text))} ${outcome.problem}`);
		return text;
	};
	for (const [key, name, read] of LISTS) {
		const given = values[key];
		if (Array.isArray(given)) values[key] = Object.freeze(given.map((text: string) => normalise(name, text, read)));
	}
	const { oidcBaseUrl } = values;
	if (typeof oidcBaseUrl === 'string') values['oidcBaseUrl'] = normalise('PULSAR_OIDC__BASE_URL', oidcBaseUrl, readBaseUrl);
	return problems;
}

const LISTS = [
	['trustedHosts', 'PULSAR_TRUSTED_HOSTS', readTrustedHost],
	['allowedOrigins', 'PULSAR_ALLOWED_ORIGINS', readOrigin],
	['trustedProxies', 'PULSAR_TRUSTED_PROXIES', readProxy],
] as const;

/** Schemes whose pages, if there are any, have the origin `null`. */
const SCHEMES_WITHOUT_ORIGIN = /^(wss?|ftp|file|data|blob|about|javascript):/i;
const NOT_AN_ORIGIN = 'is not an origin such as https://app.example.org';

/** An origin as a browser writes it: lower case, punycode, no default port. */
function readOrigin(text: string): EdgeValue {
	if (text === '*') return { value: text };
	const [, scheme, rest = ''] = /^([a-z][a-z0-9+.-]*):\/\/([^\s\\]+)$/i.exec(text) ?? [];
	if (scheme === undefined) return { problem: NOT_AN_ORIGIN };
	if (SCHEMES_WITHOUT_ORIGIN.test(text)) return { problem: `${NOT_AN_ORIGIN}: no page has one with ${scheme}:` };
	if (rest.includes('@')) return { problem: `${NOT_AN_ORIGIN}: it has credentials` };
	if (/[/?#]./.test(rest) || /[?#]$/.test(rest)) return { problem: `${NOT_AN_ORIGIN}: it has a path` };
	if (rest.includes('*')) return { problem: `${NOT_AN_ORIGIN}: name each origin, or give "*" for all` };
	// Of other schemes, as those of apps, the standard knows no hosts.
	if (!/^https?$/i.test(scheme)) return { value: text.toLowerCase().replace(/\/$/, '') };
	const url = URL.parse(text);
	return url === null ? { problem: `${NOT_AN_ORIGIN}: there is no such host or port` } : { value: url.origin };
}

const NOT_A_HOST = 'is not a name or address without scheme and port';
const IPV6_FORM = /^\[?([0-9a-f:.]*:[0-9a-f:.]*:[0-9a-f:.]*)\]?$/i;

/** A host as it stands in a `Host` header, or `*.` and one. */
function readTrustedHost(text: string): EdgeValue {
	if (text === '*') return { value: text };
	const [, ipv6] = IPV6_FORM.exec(text) ?? [];
	if (ipv6 !== undefined) {
		const url = URL.parse(`http://[${ipv6}]`);
		return url === null ? { problem: NOT_A_HOST } : { value: url.hostname.slice(1, -1) };
	}
	const [, wildcard = '', name = ''] = /^(\*\.)?([^\s/?#@:*[\]\\%]+)$/.exec(text) ?? [];
	const ascii = /^[\x21-\x7e]*$/.test(name) ? name : (URL.parse(`http://${name}`)?.hostname ?? '');
	if (!/^[a-z0-9_-]+(\.[a-z0-9_-]+)*\.?$/i.test(ascii)) return { problem: NOT_A_HOST };
	return { value: `${wildcard}${ascii.toLowerCase().replace(/\.$/, '')}` };
}

/** An address or network; one of IPv4 that is written as IPv6 as what it is, since so the addresses of peers are. */
function readProxy(text: string): EdgeValue {
	const bare = text.replace(/^\[(.*)\]/, '$1');
	const [, mapped, mappedPrefix] = /^::ffff:(\d+\.\d+\.\d+\.\d+)(?:\/(\d{1,3}))?$/i.exec(bare) ?? [];
	const prefix = mappedPrefix === undefined ? '' : `/${Number(mappedPrefix) - 96}`;
	const value = mapped === undefined ? bare : `${mapped}${prefix}`;
	return isNetwork(value) ? { value } : { problem: 'is not an address or a network such as 10.0.0.0/8' };
}

function isNetwork(text: string): boolean {
	const [, address = '', prefix = '0'] = /^([0-9a-f:.]+)(?:\/(\d{1,3}))?$/i.exec(text) ?? [];
	if (address.includes(':')) return URL.canParse(`http://[${address}]`) && Number(prefix) <= 128;
	return (
		/^(\d{1,3}\.){3}\d{1,3}$/.test(address) && address.split('.').every((part) => Number(part) <= 255) && Number(prefix) <= 32
	);
}

/** A base that paths are put after. What it must be besides is for the guard of signing in to say. */
function readBaseUrl(text: string): EdgeValue {
	const url = URL.parse(text);
	if (url === null || !/^https?:$/.test(url.protocol) || /[#@]/.test(text)) return { value: text };
	if (text.includes('?')) return { problem: 'has a query, after which no path can stand' };
	return { value: url.href.replace(/\/+$/, '') };
}
