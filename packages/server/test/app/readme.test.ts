/** The README's first five minutes: its commands are run as they stand there, and show what it says they show. */

import assert from 'node:assert/strict';
import { type ChildProcess, execFile, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { test } from 'node:test';
import { promisify } from 'node:util';
import { ROOT } from '../deploy/files.ts';
import { startRelay } from '../support/relay.ts';

const README = readFileSync(new URL('../../../../README.md', import.meta.url), 'utf8');
const ADDRESS = '127.0.0.1:8080';
/** Bounds a command that goes on for ever; what is waited for comes at once. */
const WATCH_S = 20;
const missing = hasCurl() || process.env['CI'] !== undefined ? false : 'no curl on this machine (apt-get install curl)';

function hasCurl(): boolean {
	try {
		execFileSync('curl', ['--version'], { stdio: 'ignore' });
		return true;
	} catch {
		// Not there, or not to be run: the same to whoever skips.
		return false;
	}
}

/** The code blocks of the README that talk to the relay, in order, talking to another one. */
function commandsTo(url: string): string[] {
	const { host } = new URL(url);
	return [...README.matchAll(/^```\w*\n([\s\S]*?)^```$/gm)]
		.map(([, code = '']) => code)
		.filter((code) => code.includes(ADDRESS))
		.map((code) => code.replaceAll(ADDRESS, host));
}

async function run(command: string): Promise<string> {
	const { stdout } = await promisify(execFile)('sh', ['-c', command]);
	return stdout;
}

/** A command that goes on for ever, and what it prints. */
class Watch {
	readonly #child: ChildProcess;
	#output = '';
	#changed: () => void = () => {};

	constructor(file: string, args: readonly string[]) {
		this.#child = spawn(file, args, { stdio: ['ignore', 'pipe', 'inherit'] });
		this.#child.stdout?.on('data', (chunk: Buffer) => {
			this.#output += chunk.toString();
			this.#changed();
		});
		this.#child.on('close', () => this.#changed());
	}

	/** Resolves with all that was printed once `text` is in it. Rejects when the command ends before. */
	async prints(text: string): Promise<string> {
		while (!this.#output.includes(text)) {
			assert(this.#child.stdout?.closed === false, `ended without ${text} after:\n${this.#output}`);
			await new Promise<void>((resolve) => {
				this.#changed = resolve;
			});
		}
		return this.#output;
	}

	async end(): Promise<void> {
		if (this.#child.stdout?.closed !== false) return;
		const closed = once(this.#child, 'close');
		this.#child.kill();
		await closed;
	}
}

test('the commands of the first five minutes show what the README says', { skip: missing, timeout: 60_000 }, async (t) => {
	const relay = await startRelay();
	t.after(() => relay.close());
	const [watch = '', publish = '', poll = '', script = '', stream = '', ...others] = commandsTo(relay.url);
	assert.deepEqual(others, [], 'a command that is not tried here');

	const watching = new Watch('sh', ['-c', `exec ${watch.replace('curl -N', `curl -sN --max-time ${WATCH_S}`)}`]);
	t.after(() => watching.end());
	await watching.prints('event: subscribed');
	const { message_id: id } = JSON.parse(await run(publish)) as { message_id: string };
	const shown = await watching.prints(`\nid: ${id}\n`);
	assert.match(shown, /^data: \{"type":"message".*Hello, world/m);

	const answer = JSON.parse(await run(poll)) as { messages: { payload: unknown }[]; next_offset: string };
	assert.deepEqual(
		answer.messages.map(({ payload }) => payload),
		[{ text: 'Hello, world' }],
	);
	assert.equal(answer.next_offset, id);

	// Node has the browser's WebSocket.
	const listening = new Watch(process.execPath, ['-e', script]);
	t.after(() => listening.end());
	await listening.prints('Hello, world');

	assert.deepEqual(JSON.parse(await run(stream)), { summary: { total: 1000, accepted: 1000, rejected: 0, complete: true } });
});

test('the relay that npm has started is killed by the pid that it shows, and keeps what it acknowledged', {
	timeout: 60_000,
}, async (t) => {
	const dataDir = await mkdtemp(join(tmpdir(), 'pulsar-relay-readme-'));
	t.after(() => rm(dataDir, { recursive: true }));
	const start = () => {
		const env = { ...process.env, PULSAR_PORT: '0', PULSAR_DATA_DIR: dataDir, PULSAR_LOG_FORMAT: 'json' };
		const npm = spawn('npm', ['start', '--silent'], { cwd: ROOT, env, stdio: ['ignore', 'pipe', 'inherit'] });
		const listening = new Promise<{ http: string; pid: number }>((resolve) => {
			createInterface({ input: npm.stdout }).on('line', (line) => {
				const entry = JSON.parse(line) as { msg: string; http: string; pid: number };
				if (entry.msg === 'listening') resolve(entry);
			});
		});
		return { npm, listening };
	};
	const first = start();
	const { http, pid } = await first.listening;
	const published = await fetch(`${http}/api/v1/messages`, {
		method: 'POST',
		headers: { 'content-type': 'application/json' },
		body: '{"topic":"hello","payload":1}',
	});
	assert.equal(published.status, 201);
	const ended = once(first.npm, 'exit');
	process.kill(pid, 'SIGKILL');
	await ended;
	// It could not be locked, or lack the message, if the one before still ran.
	const second = start();
	const again = await second.listening;
	const topic = (await (await fetch(`${again.http}/api/v1/topics/hello`)).json()) as { message_count: number };
	assert.equal(topic.message_count, 1);
	const stopped = once(second.npm, 'exit');
	second.npm.kill('SIGTERM');
	assert.deepEqual(await stopped, [0, null]);
});
