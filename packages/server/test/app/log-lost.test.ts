/** A relay as a process whose standard output does not work: it goes on serving, counts what it could not log, and says so later. */

import assert from 'node:assert/strict';
import { type ChildProcess, execFileSync, type StdioOptions, spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, constants, mkdtempSync, openSync, readSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';

const LAUNCHER = fileURLToPath(new URL('../../bin/pulsar-relay.js', import.meta.url));
/** More of them than any buffer holds, at the level at which each is a line. */
const REQUESTS = 3000;

/** How much could be read at once; nothing when nothing is there. */
function readAvailable(fd: number, buffer: Buffer): number {
	try {
		return readSync(fd, buffer);
	} catch (error) {
		assert.equal(error instanceof Error && 'code' in error && error.code, 'EAGAIN');
		return 0;
	}
}

interface Relay {
	readonly url: string;
	readonly child: ChildProcess;
	lostLines(): Promise<number>;
	/** Publishes, each time with a line in the log. */
	work(requests: number): Promise<void>;
	/** Ends it as an operator does; gives the exit code. */
	stop(): Promise<number | null>;
}

async function freePort(): Promise<number> {
	const server = createServer().listen(0, '127.0.0.1');
	await once(server, 'listening');
	const address = server.address();
	assert(typeof address === 'object' && address !== null);
	server.close();
	await once(server, 'close');
	return address.port;
}

async function startRelay(t: TestContext, stdio: StdioOptions): Promise<Relay> {
	const port = await freePort();
	const url = `http://127.0.0.1:${port}`;
	const env = {
		PATH: process.env['PATH'],
		PULSAR_PORT: String(port),
		PULSAR_STORAGE_BACKEND: 'memory',
		PULSAR_LOG_LEVEL: 'debug',
	};
	const child = spawn(process.execPath, [LAUNCHER], { env, stdio });
	t.after(() => child.kill('SIGKILL'));
	const publish = async () => {
		const headers = { 'content-type': 'application/json' };
		const response = await fetch(`${url}/api/v1/messages`, { method: 'POST', headers, body: '{"topic":"t","payload":1}' });
		assert.equal(response.status, 201);
		await response.arrayBuffer();
	};
	for (let tries = 0; ; tries++) {
		assert(child.exitCode === null && tries < 600, `it does not serve; exit code ${child.exitCode}`);
		const answer = await fetch(`${url}/health`).catch(() => null);
		if (answer?.status === 200) break;
		await delay(50);
	}
	return {
		url,
		child,
		async lostLines() {
			const text = await (await fetch(`${url}/metrics`)).text();
			return Number(/^relay_log_lines_lost_total (\d+)$/m.exec(text)?.[1] ?? Number.NaN);
		},
		async work(requests) {
			for (let done = 0; done < requests; done += 20) await Promise.all(Array.from({ length: 20 }, publish));
		},
		async stop() {
			const exited = once(child, 'exit') as Promise<[number | null]>;
			child.kill('SIGTERM');
			return (await exited)[0];
		},
	};
}

test('on a full disk it serves, counts the lines and ends well', { timeout: 60_000 }, async (t) => {
	const full = openSync('/dev/full', 'w');
	t.after(() => closeSync(full));
	const relay = await startRelay(t, ['ignore', full, full]);
	await relay.work(20);
	assert((await relay.lostLines()) > 20);
	assert.equal(await relay.stop(), 0);
});

test('when the reader of its log goes away it serves on', { timeout: 60_000 }, async (t) => {
	const relay = await startRelay(t, ['ignore', 'pipe', 'pipe']);
	relay.child.stdout?.destroy();
	relay.child.stderr?.destroy();
	await relay.work(20);
	assert((await relay.lostLines()) > 0);
	assert.equal(await relay.stop(), 0);
});

test('while the reader of its log stands still it serves, and when that goes on it is told how much it has missed', {
	timeout: 60_000,
}, async (t) => {
	const relay = await startRelay(t, ['ignore', 'pipe', 'ignore']);
	const { stdout } = relay.child;
	assert(stdout !== null);
	await relay.work(REQUESTS);
	const lost = await relay.lostLines();
	assert(lost > 0, String(lost));
	let read = '';
	stdout.setEncoding('utf8');
	const said = new Promise<Record<string, unknown>>((resolve) => {
		stdout.on('data', (chunk: string) => {
			read += chunk;
			const line = read.split('\n').find((text) => text.includes('lines of the log were lost') && text.endsWith('}'));
			if (line !== undefined) resolve(JSON.parse(line));
		});
	});
	const { lines, level } = await said;
	assert.equal(level, 'warning');
	assert(Number(lines) >= lost, `${lines} of ${lost}`);
	await relay.work(20);
	assert.equal(await relay.stop(), 0);
	if (!stdout.readableEnded) await once(stdout, 'end');
	const complete = read
		.trimEnd()
		.split('\n')
		.map((line) => JSON.parse(line) as { msg: string });
	assert.equal(complete.at(-1)?.msg, 'stopped');
	assert.equal(complete.filter(({ msg }) => msg.includes('lines of the log were lost')).length, 1);
});

test('a named pipe whose reader stands still, goes away and comes back gets what is logged then', {
	timeout: 60_000,
}, async (t) => {
	const directory = mkdtempSync(join(tmpdir(), 'pulsar-relay-log-'));
	t.after(() => rmSync(directory, { recursive: true }));
	const path = join(directory, 'log');
	execFileSync('mkfifo', [path]);
	const openReader = () => openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
	const first = openReader();
	const writer = openSync(path, constants.O_WRONLY);
	const relay = await startRelay(t, ['ignore', writer, 'ignore']);
	closeSync(writer);
	await relay.work(REQUESTS);
	const lostWhileFull = await relay.lostLines();
	assert(lostWhileFull > 0);
	closeSync(first);
	await relay.work(20);
	const lost = await relay.lostLines();
	assert(lost > lostWhileFull);
	const second = openReader();
	t.after(() => closeSync(second));
	await relay.work(20);
	const buffer = Buffer.alloc(1024 * 1024);
	let text = '';
	for (let tries = 0; tries < 100 && !text.includes('lines of the log were lost'); tries++) {
		await delay(50);
		text += buffer.toString('utf8', 0, readAvailable(second, buffer));
	}
	assert.match(text, /lines of the log were lost/);
	assert.equal(await relay.stop(), 0);
});
