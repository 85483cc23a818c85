/** Limits by address: the networks around an address count as well, and none of them is refused for another. */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { AddressLimit } from '../../../src/limits/address-limit.ts';
import { networksOf } from '../../../src/transports/http/client-address.ts';
import { createFakeClock } from '../../support/clock.ts';

const PER_MINUTE = 10;

function create() {
	const clock = createFakeClock();
	const limit = new AddressLimit({ name: 'device', clock, perMinute: PER_MINUTE });
	/** How many of the addresses are given a token; each asks so many times. */
	const ask = (addresses: readonly string[], times = 1) => {
		let given = 0;
		for (const address of addresses) for (let i = 0; i < times; i++) if (limit.take(networksOf(address)).allowed) given++;
		return given;
	};
	return { clock, limit, ask };
}

const hex = (count: number) => Array.from({ length: count }, (_, i) => i.toString(16));

test('an IPv6 address counts in its /64, /56 and /48, an IPv4 address in its /24', () => {
	const names = (address: string) => networksOf(address).map(({ name, factor }) => `${name} x${factor}`);
	assert.deepEqual(names('2001:db8:1:2345::/64'), ['2001:db8:1:2345::/64 x1', '2001:db8:1:2300::/56 x4', '2001:db8:1::/48 x16']);
	assert.deepEqual(names('2001:db8:1:45::/64'), ['2001:db8:1:45::/64 x1', '2001:db8:1:0::/56 x4', '2001:db8:1::/48 x16']);
	assert.deepEqual(names('203.0.113.9'), ['203.0.113.9 x1', '203.0.113.0/24 x16']);
	assert.deepEqual(names(''), [' x1']);
});

test('each address has its own tokens', () => {
	const { ask } = create();
	assert.equal(ask(['203.0.113.1'], 20), PER_MINUTE);
	assert.equal(ask(['203.0.113.2'], 20), PER_MINUTE);
	assert.equal(ask(['2001:db8:1:1::/64'], 20), PER_MINUTE);
});

test('all /64s of a /56 get four times what one gets, all of a /48 sixteen times', () => {
	const { ask } = create();
	assert.equal(
		ask(
			hex(256).map((i) => `2001:db8:1:${i}::/64`),
			5,
		),
		4 * PER_MINUTE,
	);
	assert.equal(ask(hex(65_536).map((i) => `2001:db8:2:${i}::/64`)), 16 * PER_MINUTE);
});

test('all addresses of an IPv4 /24 get sixteen times what one gets', () => {
	const { ask } = create();
	assert.equal(
		ask(
			Array.from({ length: 256 }, (_, i) => `203.0.113.${i}`),
			20,
		),
		16 * PER_MINUTE,
	);
});

test('a network that has used up what it has is no business of others', () => {
	const { ask } = create();
	ask(hex(65_536).map((i) => `2001:db8:1:${i}::/64`));
	ask(
		Array.from({ length: 256 }, (_, i) => `203.0.113.${i}`),
		20,
	);
	assert.equal(ask(['2001:db8:2:1::/64'], 20), PER_MINUTE);
	assert.equal(ask(['203.0.114.1'], 20), PER_MINUTE);
});

test('what one network refuses costs the others nothing, and the balance is that of the network', () => {
	const { clock, limit, ask } = create();
	ask(['203.0.113.1'], PER_MINUTE);
	for (let i = 0; i < 1000; i++) {
		const { allowed, perMinute } = limit.take(networksOf('203.0.113.1'));
		assert.deepEqual([allowed, perMinute], [false, PER_MINUTE]);
	}
	assert.equal(
		ask(
			Array.from({ length: 15 }, (_, i) => `203.0.113.${i + 2}`),
			PER_MINUTE,
		),
		15 * PER_MINUTE,
	);
	assert.deepEqual(limit.take(networksOf('203.0.113.99')).perMinute, 16 * PER_MINUTE);
	clock.advance(60_000);
	assert.equal(ask(['203.0.113.1'], 20), PER_MINUTE);
});
