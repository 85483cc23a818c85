/** docs/accounts.md, from its first command to its last, in one shell; its answers are those that come, and its page works in Chromium. */

import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { ROOT, readText } from '../deploy/files.ts';
import { missing } from '../deploy/programs.ts';
import { chromiumUnavailable, withPage } from '../support/chromium.ts';
import { startRelay } from '../support/relay.ts';
import { freePort, untilAnswer } from '../support/valkey.ts';

const PAGE = 'docs/accounts.md';
const END = 'that was the block';

interface Block {
	readonly heading: string;
	readonly command: string;
	/** What the page says it prints, line by line. */
	readonly shown: readonly string[];
}

/** The commands of the page in order, each with the answers that stand below it. */
function blocks(): readonly Block[] {
	const found: { heading: string; command: string; shown: string[] }[] = [];
	let heading = '';
	for (const [, title, language, text = ''] of readText(PAGE).matchAll(/^#+ (.+)$|^```(sh|json)\n([\s\S]*?)^```$/gm)) {
		if (title !== undefined) heading = title;
		else if (language === 'sh') found.push({ heading, command: text, shown: [] });
		else found.at(-1)?.shown.push(...text.trimEnd().split('\n'));
	}
	return found;
}

/** A shell that keeps its variables from one block to the next. */
class Shell {
	readonly #child: ChildProcess;
	#output = '';
	#changed: () => void = () => {};

	constructor(cwd: string) {
		this.#child = spawn('sh', [], { cwd, stdio: ['pipe', 'pipe', 'inherit'] });
		this.#child.stdout?.on('data', (chunk: Buffer) => {
			this.#output += chunk.toString();
			this.#changed();
		});
	}

	/** Resolves with what the block prints. */
	async run(block: string): Promise<string> {
		this.#output = '';
		this.#child.stdin?.write(`${block}\nprintf '\\n%s\\n' '${END}'\n`);
		while (!this.#output.includes(END)) {
			await new Promise<void>((resolve) => {
				this.#changed = resolve;
			});
		}
		return this.#output.slice(0, this.#output.indexOf(END));
	}

	async end(): Promise<void> {
		const exited = once(this.#child, 'exit');
		this.#child.stdin?.end();
		await exited;
	}
}

/** Several JSON values that were printed one after the other, with or without line ends. */
function valuesIn(printed: string): string[] {
	return printed
		.replaceAll(/([}\]])(?=[{[])/g, '$1\n')
		.split('\n')
		.filter((line) => line !== '');
}

/** Checks a value against the page's, whose texts may end in `…`. */
function assertShown(actual: unknown, shown: unknown, where: string): void {
	if (typeof shown === 'string' && shown.endsWith('…')) {
		assert(typeof actual === 'string' && actual.startsWith(shown.slice(0, -1)), `${where}: ${String(actual)}`);
	} else if (typeof shown === 'object' && shown !== null && typeof actual === 'object' && actual !== null) {
		assert.deepEqual(Object.keys(actual), Object.keys(shown), where);
		for (const [key, value] of Object.entries(shown)) {
			assertShown((actual as Record<string, unknown>)[key], value, `${where}.${key}`);
		}
	} else {
		assert.equal(actual, shown, where);
	}
}

describe('accounts in five minutes', { skip: missing(['curl', 'openssl'], 'curl openssl'), timeout: 90_000 }, () => {
	const [start, ...rest] = blocks();
	let directory: string;
	let port: number;
	let pagePort: number;
	let relay: ChildProcess;
	let shell: Shell;
	const here = (text: string) => text.replaceAll('127.0.0.1:8080', `127.0.0.1:${port}`).replaceAll(':8000', `:${pagePort}`);
	const page = createServer((request, response) => {
		const [, html = ''] = /^```html\n([\s\S]*?)^```$/m.exec(readText(PAGE)) ?? [];
		const isPage = request.url === '/orders.html';
		response.writeHead(isPage ? 200 : 404, { 'content-type': 'text/html; charset=utf-8' }).end(isPage ? here(html) : '');
	});

	before(async () => {
		directory = await mkdtemp(join(tmpdir(), 'pulsar-relay-accounts-'));
		const dataDir = join(directory, 'data');
		// What a relay without accounts has left of the README's first five minutes.
		const earlier = await startRelay({ PULSAR_DATA_DIR: dataDir });
		await earlier.publish('hello', '{"text":"Hello, world"}');
		await earlier.close();
		page.listen(0, '127.0.0.1');
		await once(page, 'listening');
		pagePort = (page.address() as AddressInfo).port;
		port = await freePort();
		// As the page has it, but for the port and the data.
		const command = here(start?.command ?? assert.fail('no start')).replace('npm start', 'exec npm start');
		const env = { ...process.env, PULSAR_PORT: String(port), PULSAR_DATA_DIR: dataDir };
		relay = spawn('sh', ['-c', command], { cwd: ROOT, env, stdio: 'ignore' });
		const answers = () =>
			fetch(`http://127.0.0.1:${port}/ready`).then(
				({ ok }) => ok,
				() => false,
			);
		await untilAnswer(answers, 'ready');
		shell = new Shell(directory);
	});
	after(async () => {
		await shell?.end();
		page.close();
		const ended = once(relay, 'exit');
		relay.kill('SIGTERM');
		await ended;
		await rm(directory, { recursive: true, force: true });
	});

	for (const { heading, command, shown } of rest) {
		test(`${heading}: ${command.split('\n', 1)[0]}`, async () => {
			const printed = valuesIn(await shell.run(here(command)));
			assert.equal(printed.length, shown.length, printed.join('\n'));
			for (const [i, line] of shown.entries()) {
				assertShown(JSON.parse(printed[i] ?? ''), JSON.parse(line), `${heading}, line ${i + 1}`);
			}
		});
		if (command.includes('TOKEN=')) {
			test('the page shows the order', { skip: chromiumUnavailable }, async () => {
				const token = (await shell.run('echo $TOKEN')).trim();
				await withPage(async (tab) => {
					await tab.goto(`http://127.0.0.1:${pagePort}/orders.html#${token}`);
					await tab.getByText('Order 4711').waitFor();
				});
			});
		}
	}
});
