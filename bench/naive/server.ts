/**
 * The naive way, to compare with: what one writes in an afternoon on node:http, node:sqlite and `ws`. One transaction per
 * message, one `ws.send` per message and socket, a full parse and stringify of every payload. It takes and answers the same
 * requests and frames as the relay, as far as the benchmarks use them.
 *
 * Arguments: the database file (empty: store nothing), messages to begin with, bytes of their payloads.
 */

import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { createInterface } from 'node:readline';
import { DatabaseSync } from 'node:sqlite';
import { setImmediate } from 'node:timers/promises';
import { type WebSocket, WebSocketServer } from 'ws';
import { payloadOf } from '../clients/payload.ts';

const [databaseFile = '', preloaded = '0', payloadBytes = '0'] = process.argv.slice(2);

interface Message {
	readonly topic: string;
	readonly payload: unknown;
}

interface Row {
	readonly id: number;
	readonly topic: string;
	readonly timestamp: string;
	readonly payload: string;
}

const PAGE_ROWS = 100;

const store = databaseFile === '' ? null : openStore(databaseFile);
const followers = new Map<string, Set<WebSocket>>();
let lastId = 0;

function openStore(file: string) {
	const database = new DatabaseSync(file);
	database.exec('PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL');
	database.exec('CREATE TABLE messages (id INTEGER PRIMARY KEY, topic TEXT, timestamp TEXT, payload TEXT)');
	const insert = database.prepare('INSERT INTO messages (topic, timestamp, payload) VALUES (?, ?, ?)');
	database.exec('BEGIN');
	const payload = payloadOf(Number(payloadBytes));
	for (let i = 0; i < Number(preloaded); i++) insert.run('bench', new Date().toISOString(), payload);
	database.exec('COMMIT');
	database.exec('CREATE INDEX by_topic ON messages (topic, id)');
	return {
		insert,
		page: database.prepare(`SELECT * FROM messages WHERE topic = ? AND id > ? ORDER BY id LIMIT ${PAGE_ROWS}`),
	};
}

function publish({ topic, payload }: Message): { message_id: string; topic: string; timestamp: string } {
	const timestamp = new Date().toISOString();
	// Outside an explicit transaction each insert is one, committed and synced when `run` returns.
	const id = store === null ? ++lastId : Number(store.insert.run(topic, timestamp, JSON.stringify(payload)).lastInsertRowid);
	const text = JSON.stringify({ type: 'message', message_id: String(id), topic, timestamp, payload, metadata: {} });
	for (const ws of followers.get(topic) ?? []) ws.send(text);
	return { message_id: String(id), topic, timestamp };
}

async function serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
	if (request.url === '/api/v1/messages/stream') {
		response.writeHead(200, { 'Content-Type': 'application/x-ndjson' });
		for await (const line of createInterface({ input: request })) {
			if (line !== '') response.write(`${JSON.stringify({ ...publish(JSON.parse(line) as Message), status: 'accepted' })}\n`);
		}
		response.end('{"summary":{}}\n');
		return;
	}
	const chunks: Buffer[] = [];
	for await (const chunk of request) chunks.push(chunk as Buffer);
	const body: unknown = JSON.parse(Buffer.concat(chunks).toString());
	if (request.url === '/api/v1/messages/bulk') {
		const results = (body as { messages: Message[] }).messages.map((each) => ({
			...publish(each),
			status: 'accepted',
			error: null,
		}));
		answer(response, 207, { results });
	} else {
		answer(response, 201, publish(body as Message));
	}
}

function answer(response: ServerResponse, status: number, body: unknown): void {
	const text = JSON.stringify(body);
	response.writeHead(status, { 'Content-Type': 'application/json', 'Content-Length': Buffer.byteLength(text) }).end(text);
}

async function subscribe(ws: WebSocket, topics: readonly string[], offset: string): Promise<void> {
	ws.send(JSON.stringify({ type: 'subscribed', topics }));
	for (const topic of topics) {
		if (offset === 'earliest') await sendStored(ws, topic);
		const set = followers.get(topic) ?? new Set();
		followers.set(topic, set.add(ws));
		ws.on('close', () => set.delete(ws));
	}
}

async function sendStored(ws: WebSocket, topic: string): Promise<void> {
	let after = 0;
	while (ws.readyState === ws.OPEN) {
		const rows = (store?.page.all(topic, after) ?? []) as unknown as Row[];
		if (rows.length === 0) return;
		let sent = Promise.resolve();
		for (const { id, timestamp, payload } of rows) {
			const message = {
				type: 'message',
				message_id: String(id),
				topic,
				timestamp,
				payload: JSON.parse(payload) as unknown,
				metadata: {},
			};
			sent = new Promise((resolve) => ws.send(JSON.stringify(message), () => resolve()));
			after = id;
		}
		await sent;
		// Otherwise one subscriber is served to the end before the next one is heard.
		await setImmediate();
	}
}

const server = createServer((request, response) => {
	serve(request, response).catch((error: unknown) => response.destroy(error instanceof Error ? error : undefined));
});
new WebSocketServer({ server, path: '/ws', perMessageDeflate: false }).on('connection', (ws) => {
	ws.on('error', () => ws.terminate());
	ws.on('message', (data: Buffer) => {
		const { topics, offset } = JSON.parse(data.toString()) as { topics: string[]; offset: string };
		subscribe(ws, topics, offset).catch(() => ws.terminate());
	});
});
server.listen(0, '127.0.0.1', () => {
	const { port } = server.address() as AddressInfo;
	process.stdout.write(`${JSON.stringify({ msg: 'listening', http: `http://127.0.0.1:${port}` })}\n`);
});
