/** The README's first five minutes: its commands are run as they stand there, and show what it says they show. */

import assert from 'node:assert/strict';
import { type ChildProcess, execFile, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { promisify } from 'node:util';
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
