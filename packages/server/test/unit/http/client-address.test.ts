/** Whose address a request is from, behind proxies and liars. */

import assert from 'node:assert/strict';
import { IncomingMessage } from 'node:http';
import { Socket } from 'node:net';
import { test } from 'node:test';
import { clientAddresses } from '../../../src/transports/http/client-address.ts';

function from(remoteAddress: string, forwarded?: string): IncomingMessage {
	const socket = new Socket();
	Object.defineProperty(socket, 'remoteAddress', { value: remoteAddress });
	const request = new IncomingMessage(socket);
	if (forwarded !== undefined) request.headers['x-forwarded-for'] = forwarded;
	return request;
}

test('without trusted proxies it is the peer, whatever it says', () => {
	const addressOf = clientAddresses([]);
	assert.equal(addressOf(from('192.0.2.1', '203.0.113.9')), '192.0.2.1');
	assert.equal(addressOf(from('::ffff:192.0.2.1')), '192.0.2.1');
});

test('what a peer that is no trusted proxy forwards is not looked at', () => {
	const addressOf = clientAddresses(['10.0.0.0/8']);
	assert.equal(addressOf(from('192.0.2.1', '203.0.113.9')), '192.0.2.1');
	assert.equal(addressOf(from('11.0.0.1', '203.0.113.9')), '11.0.0.1');
});

test('it is the last address that no trusted proxy has: what stands before it may be made up', () => {
	const addressOf = clientAddresses(['10.0.0.0/8', 'fd00::/8', '192.0.2.7']);
	for (const [peer, forwarded, client] of [
		['10.1.1.1', '203.0.113.9', '203.0.113.9'],
		['::ffff:10.1.1.1', '203.0.113.9', '203.0.113.9'],
		['10.1.1.1', '198.51.100.1, 203.0.113.9', '203.0.113.9'],
		['10.1.1.1', '198.51.100.1,203.0.113.9 , 10.2.2.2,  192.0.2.7', '203.0.113.9'],
		['10.1.1.1', '10.9.9.9, 203.0.113.9', '203.0.113.9'],
		['fd00::1', '203.0.113.9', '203.0.113.9'],
		['10.1.1.1', '203.0.113.9:4711', '203.0.113.9'],
		['10.1.1.1', '[2001:db8:1:2:3::4]:4711', '2001:db8:1:2::/64'],
		['10.1.1.1', '10.2.2.2', '10.2.2.2'],
		['10.1.1.1', undefined, '10.1.1.1'],
		['10.1.1.1', '', '10.1.1.1'],
		['10.1.1.1', '203.0.113.9, unknown', '10.1.1.1'],
		['10.1.1.1', '203.0.113.9, 10.2.2.2, _hidden, 10.3.3.3', '10.3.3.3'],
		['10.1.1.1', '203.0.113.9,', '10.1.1.1'],
	] as const) {
		assert.equal(addressOf(from(peer, forwarded)), client, `${peer} ${forwarded}`);
	}
});

test('of an IPv6 address the network counts, however it is written', () => {
	const addressOf = clientAddresses([]);
	for (const [address, network] of [
		['2001:db8:1:2:3:4:5:6', '2001:db8:1:2::/64'],
		['2001:DB8:1:2::1', '2001:db8:1:2::/64'],
		['2001:0db8:0001:0002::', '2001:db8:1:2::/64'],
		['2001:db8::1', '2001:db8:0:0::/64'],
		['::1', '0:0:0:0::/64'],
		['fe80::1%eth0', 'fe80:0:0:0::/64'],
		['64:ff9b::192.0.2.1', '64:ff9b:0:0::/64'],
	] as const) {
		assert.equal(addressOf(from(address)), network);
	}
});
