/**
 * Whose address a request is from. Behind a proxy every connection is the proxy's, and the address of the client is in
 * `X-Forwarded-For`, where anybody can write anything: only what trusted proxies have added counts.
 */

import type { IncomingMessage } from 'node:http';
import { BlockList, isIP } from 'node:net';
import type { Network } from '../../limits/address-limit.ts';

export type AddressOf = (request: IncomingMessage) => string;

/** Gives what a client is counted by: its address, of IPv6 its network. Proxies as in {@link wholeAddresses}. */
export function clientAddresses(proxies: readonly string[]): AddressOf {
	const addressOf = wholeAddresses(proxies);
	return (request) => counted(addressOf(request));
}

/** @param proxies addresses and networks (CIDR) of the proxies that are trusted */
export function wholeAddresses(proxies: readonly string[]): AddressOf {
	if (proxies.length === 0) return ({ socket }) => plain(socket.remoteAddress ?? '');
	const trusted = blockListOf(proxies);
	const isTrusted = (address: string) => isIP(address) !== 0 && trusted.check(address, family(address));
	return ({ socket, headers }) => {
		let address = plain(socket.remoteAddress ?? '');
		const forwarded = String(headers['x-forwarded-for'] ?? '').split(',');
		// From the last proxy to the first; whatever stands before one that is not trusted may be made up.
		while (isTrusted(address)) {
			const before = plain(forwarded.pop() ?? '');
			if (isIP(before) === 0) break;
			address = before;
		}
		return address;
	};
}

/**
 * What the connections of a peer are counted by, from its address: as {@link clientAddresses} counts. Null for proxies that are trusted and for
 * this machine, by which many clients come.
 */
export function peerCounts(proxies: readonly string[]): (remoteAddress: string) => string | null {
	const shared = blockListOf([...proxies, '127.0.0.1', '::1']);
	return (remoteAddress) => {
		const address = plain(remoteAddress);
		return isIP(address) === 0 || shared.check(address, family(address)) ? null : counted(address);
	};
}

/**
 * The networks around an address as {@link clientAddresses} gives it, and itself. A site has an IPv6 /56 or /48 nearly always, and an IPv4 /24 is what
 * is sold at least.
 */
export function networksOf(address: string): readonly Network[] {
	const own: Network = { name: address, factor: 1 };
	const ipv6 = /^([0-9a-f]+):([0-9a-f]+):([0-9a-f]+):([0-9a-f]+)::\/64$/.exec(address);
	if (ipv6 !== null) {
		const [, first, second, third, fourth = '0'] = ipv6;
		const site = `${first}:${second}:${third}`;
		const fourthOf56 = (Number.parseInt(fourth, 16) & 0xff00).toString(16);
		return [own, { name: `${site}:${fourthOf56}::/56`, factor: 4 }, { name: `${site}::/48`, factor: 16 }];
	}
	if (isIP(address) !== 4) return [own];
	return [own, { name: `${address.slice(0, address.lastIndexOf('.'))}.0/24`, factor: 16 }];
}

function blockListOf(proxies: readonly string[]): BlockList {
	const list = new BlockList();
	for (const proxy of proxies) {
		const [address = '', prefix] = proxy.split('/');
		if (prefix === undefined) list.addAddress(address, family(address));
		else list.addSubnet(address, Number(prefix), family(address));
	}
	return list;
}

function family(address: string): 'ipv4' | 'ipv6' {
	return isIP(address) === 6 ? 'ipv6' : 'ipv4';
}

/** Without port, brackets and zone, and an IPv4 address that was written as IPv6 as what it is. */
function plain(text: string): string {
	const bare = text
		.trim()
		.replace(/^\[(.*)\](:\d+)?$/, '$1')
		.replace(/%.*$/, '');
	const [, mapped] = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(bare) ?? [];
	return mapped ?? bare.replace(/^(\d+\.\d+\.\d+\.\d+):\d+$/, '$1');
}

/** What is counted: an IPv4 address, or the network of an IPv6 one, of whose addresses a single client has as many as it likes. */
function counted(address: string): string {
	if (isIP(address) !== 6) return address;
	const [head = '', tail] = address.toLowerCase().split('::');
	const first = head === '' ? [] : head.split(':');
	const last = tail === undefined || tail === '' ? [] : tail.split(':');
	const groups =
		tail === undefined ? first : [...first, ...new Array(Math.max(0, 8 - first.length - last.length)).fill('0'), ...last];
	const network = groups.slice(0, 4).map((group) => Number.parseInt(group, 16).toString(16));
	return `${network.join(':')}::/64`;
}
