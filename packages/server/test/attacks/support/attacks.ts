/** The attacks: each goes on until its process is ended. A connection that the relay closes is opened again. */

import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { setTimeout as wait } from 'node:timers/promises';
import { clientFrame, dialWebSocket } from '../../support/raw-websocket.ts';

/** Where and as whom. */
export interface Target {
	readonly url: string;
	readonly attacker: string;
	readonly reader: string;
}

const MB = 1_000_000;
const TEXT = 0x81;
const FIRST_FRAGMENT = 0x01;
const FRAGMENT = 0x00;
const PING = 0x89;

/** `text` as often as it takes for so many bytes. */
const much = (text: string, bytes: number) => text.repeat(Math.floor(bytes / text.length));
const members = (bytes: number) => `{${much('"abcdefgh":1,', bytes)}"z":1}`;
const distinctMembers = (bytes: number) =>
	`{${Array.from({ length: Math.floor(bytes / 16) }, (_, i) => `"k${String(i).padStart(8, '0')}":1`).join(',')}}`;

/** Frames that are large without need. */
const FRAMES: Readonly<Record<string, () => string>> = {
	'an ack with a member of 15 MB': () => `{"type":"ack","message_id":"1-1","x":${members(15 * MB)}}`,
	'an ack whose type comes last': () => `{"x":${members(15 * MB)},"message_id":"1-1","type":"ack"}`,
	'a ping with a deep member': () => `{"type":"ping","x":${much('[[[[[]]]]],', 15 * MB).replace(/^/, '[')}0]}`,
	'a refresh with a long token': () => `{"type":"refresh","token":[${much('0,', 15 * MB)}0]}`,
	'a frame of an unknown type': () => `{"x":[${much('{},', 15 * MB)}0],"type":"launch"}`,
	'a subscribe with 15 MB of since': () => `{"type":"subscribe","topics":["jobs"],"since":${distinctMembers(15 * MB)}}`,
	'a subscribe with as much since as it may have': () =>
		`{"topics":["jobs"],"since":${distinctMembers(1_000_000)},"type":"subscribe"}`,
	'a subscribe with as many topics as fit': () => `{"type":"subscribe","topics":[${much('"a",', MB)}"a"]}`,
	'a publish with 15 MB of metadata': () => `{"type":"publish","topic":"t","payload":1,"metadata":${members(15 * MB)}}`,
	'a publish with a payload of 15 MB': () =>
		`{"type":"publish","topic":"t","idempotency_key":"k","payload":${members(15 * MB)},"ttl":0}`,
};

/** Bodies that take long to read. */
const BODIES: Readonly<Record<string, readonly [path: string, body: () => string]>> = {
	'a publish with 30 MB of metadata': [
		'/api/v1/messages',
		() => `{"topic":"t","payload":1,"metadata":${distinctMembers(30 * MB)}}`,
	],
	'a publish with 30 MB of topic': ['/api/v1/messages', () => `{"topic":[${much('0,', 30 * MB)}0],"payload":1}`],
	'a publish with a payload of 30 MB': ['/api/v1/messages', () => `{"topic":"t","payload":${members(30 * MB)},"ttl":0}`],
	'a bulk publish of 500,000 messages': [
		'/api/v1/messages/bulk',
		() => `{"messages":[${much('{"topic":"t","payload":1},', 30 * MB)}{}]}`,
	],
	'a bulk publish of 100 bad messages of 300 KB': [
		'/api/v1/messages/bulk',
		() => `{"messages":[${Array.from({ length: 100 }, () => `{"topic":"t","payload":${members(300_000)},"ttl":0}`).join(',')}]}`,
	],
	'a poll with as much since as it may have': [
		'/messages/poll',
		() => `{"topics":["jobs"],"timeout":1,"since":${distinctMembers(125_000)}}`,
	],
	'broken JSON of 30 MB': ['/api/v1/messages', () => `{"topic":"t","payload":[${much('[],', 30 * MB)}`],
};

export type Attack = (target: Target) => Promise<unknown>;

/** By what they are called in the test. */
export const ATTACKS: Readonly<Record<string, Attack>> = {
	'large frames that are no publishes': (target) =>
		cycleFrames(
			target,
			target.reader,
			framesNamed((name) => !name.includes('publish')),
		),
	'large frames that are publishes': (target) =>
		cycleFrames(
			target,
			target.attacker,
			framesNamed((name) => name.includes('publish')),
		),
	'bodies that take long to read': cycleBodies,
	'thousands of bodies of 60 KB': shortBodies,
	'lines of 20 MB, and bodies of short ones': streams,
	'fragments without end, with pings between': (target) => all(20, () => endlessFragments(target)),
	'lines without end': (target) => all(8, () => endlessLine(target)),
	'bodies that never end, by nobody': (target) => all(132, (i) => unfinishedForm(target, i)),
	'long forms, by nobody': (target) => all(60, (i) => longForms(target, i)),
	'bodies that come slowly': (target) => all(200, () => slowBody(target)),
	'polls of clients that leave': (target) => all(20, (i) => abandonedPolls(target, i * 50)),
};

async function all(count: number, attack: (i: number) => Promise<unknown>): Promise<void> {
	await Promise.all(Array.from({ length: count }, (_, i) => attack(i)));
}

function framesNamed(wanted: (name: string) => boolean): Buffer[] {
	return Object.entries(FRAMES)
		.filter(([name]) => wanted(name))
		.map(([, text]) => masked(TEXT, Buffer.from(text())));
}

/** As a client masks it: the relay has to take the mask off. */
function masked(first: number, payload: Buffer): Buffer {
	return clientFrame(first, payload, payload.byteLength, Buffer.from([1, 2, 3, 4]));
}

let begun = false;

/** What is sent has been made: the attack begins. */
function tellBegun(): void {
	if (!begun) process.send?.('begun');
	begun = true;
}

function dial({ url }: Target): Socket {
	tellBegun();
	const socket = connect(Number(new URL(url).port), '127.0.0.1');
	socket.on('error', () => {});
	socket.resume();
	return socket;
}

/** Opens a WebSocket; its answers are dropped. */
async function openWebSocket({ url }: Target, token: string): Promise<Socket> {
	tellBegun();
	const socket = dialWebSocket(url, [`Authorization: Bearer ${token}`]);
	await once(socket, 'data');
	socket.resume();
	return socket;
}

/** Resolves when the socket takes more; false when it has closed. */
async function write(socket: Socket, bytes: Buffer | string): Promise<boolean> {
	if (socket.destroyed || socket.writableEnded) return false;
	if (!socket.write(bytes)) await Promise.race([once(socket, 'drain'), once(socket, 'close')]).catch(() => {});
	return !socket.destroyed;
}

/** Each socket sends each frame, and goes on with the next one when the relay has closed it. */
async function cycleFrames(target: Target, token: string, frames: readonly Buffer[]): Promise<void> {
	await all(2, async (start) => {
		for (let i = start; ; i++) {
			const socket = await openWebSocket(target, token);
			await write(socket, frames[i % frames.length] as Buffer);
			await Promise.race([once(socket, 'close'), wait(100)]);
			socket.destroy();
		}
	});
}

function head(path: string, token: string | null, headers: readonly string[]): string {
	const authorization = token === null ? [] : [`Authorization: Bearer ${token}`];
	return `${[`POST ${path} HTTP/1.1`, 'Host: localhost', ...authorization, ...headers].join('\r\n')}\r\n\r\n`;
}

const JSON_TYPE = 'Content-Type: application/json';

async function cycleBodies(target: Target): Promise<void> {
	const requests = Object.values(BODIES).map(([path, body]) => {
		const bytes = Buffer.from(body());
		const start = head(path, target.attacker, [JSON_TYPE, `Content-Length: ${bytes.byteLength}`, 'Connection: close']);
		return Buffer.concat([Buffer.from(start), bytes]);
	});
	await all(2, async (first) => {
		for (let i = first; ; i++) {
			const socket = dial(target);
			await write(socket, requests[i % requests.length] ?? '');
			await once(socket, 'close');
		}
	});
}

async function shortBodies(target: Target): Promise<void> {
	const body = `{"topic":"t","payload":${members(60_000)},"ttl":0}`;
	const request = head('/api/v1/messages', target.attacker, [JSON_TYPE, `Content-Length: ${body.length}`]) + body;
	await all(20, async () => {
		for (;;) {
			const socket = dial(target);
			while (await write(socket, request));
		}
	});
}

async function streams(target: Target): Promise<void> {
	const long = `{"topic":"t","payload":${members(20 * MB)},"ttl":0}\n`;
	const short = much(`{"topic":"t","payload":${members(200)},"ttl":0}\n`, MB);
	await all(6, async (i) => {
		for (;;) {
			const socket = dial(target);
			const start = head('/api/v1/messages/stream', target.attacker, [
				'Content-Type: application/x-ndjson',
				'Transfer-Encoding: chunked',
			]);
			await write(socket, start);
			const lines = i === 0 ? long : short;
			while (await write(socket, `${lines.length.toString(16)}\r\n${lines}\r\n`));
		}
	});
}

async function endlessFragments(target: Target): Promise<void> {
	const part = Buffer.alloc(100_000, 0x20);
	for (;;) {
		const socket = await openWebSocket(target, target.attacker);
		let open = await write(socket, masked(FIRST_FRAGMENT, part));
		for (let i = 0; open && i < 150; i++) {
			open = await write(socket, masked(FRAGMENT, part));
			if (open) open = await write(socket, clientFrame(PING, Buffer.alloc(0)));
			await wait(20);
		}
		if (open) await once(socket, 'close');
		await wait(100);
	}
}

async function endlessLine(target: Target): Promise<void> {
	for (;;) {
		const socket = dial(target);
		const type = 'Content-Type: application/x-ndjson';
		await write(socket, head('/api/v1/messages/stream', target.attacker, [type, 'Transfer-Encoding: chunked']));
		const chunk = `10000\r\n${'x'.repeat(0x10000)}\r\n`;
		while (await write(socket, chunk));
	}
}

async function unfinishedForm(target: Target, i: number): Promise<void> {
	const form = 'Content-Type: application/x-www-form-urlencoded';
	for (;;) {
		const socket = dial(target);
		const path = i % 2 === 0 ? '/auth/login' : '/auth/device/code';
		await write(socket, head(path, null, [form, 'Content-Length: 65000']));
		await write(socket, `username=${'x'.repeat(60_000)}`);
		await once(socket, 'close');
	}
}

const MULTIPART_FIELD = '--X\r\nContent-Disposition: form-data; name="a"\r\n\r\n\r\n';

async function longForms(target: Target, i: number): Promise<void> {
	const [type, form] =
		i % 2 === 0
			? ['application/x-www-form-urlencoded', much('a&', 64_000)]
			: ['multipart/form-data; boundary=X', `${much(MULTIPART_FIELD, 64_000)}--X--\r\n`];
	const request = head('/auth/device/token', null, [`Content-Type: ${type}`, `Content-Length: ${form.length}`]) + form;
	for (;;) {
		const socket = dial(target);
		while (await write(socket, request)) await wait(100);
	}
}

async function slowBody(target: Target): Promise<void> {
	for (;;) {
		const socket = dial(target);
		await write(socket, head('/api/v1/messages', target.attacker, [JSON_TYPE, 'Content-Length: 30000000']));
		while (await write(socket, ' '.repeat(20_000))) await wait(50);
	}
}

async function abandonedPolls(target: Target, afterMs: number): Promise<void> {
	const poll = `GET /api/v1/poll?topics=quiet&timeout=60 HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer ${target.attacker}\r\n\r\n`;
	tellBegun();
	await wait(afterMs);
	for (;;) {
		const socket = dial(target);
		await write(socket, poll.repeat(100));
		await wait(500);
		socket.destroy();
		await wait(500);
	}
}
