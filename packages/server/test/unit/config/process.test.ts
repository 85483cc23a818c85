/** The process as an operator meets it: the launcher, what is printed, signals and exit codes. */

import assert from 'node:assert/strict';
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { connect, createServer } from 'node:net';
import { createInterface } from 'node:readline';
import { type TestContext, test } from 'node:test';
import { fileURLToPath } from 'node:url';

const LAUNCHER = fileURLToPath(new URL('../../../bin/pulsar-relay.js', import.meta.url));
const SYSTEM_NODE = '/usr/bin/node';

/** The environment without settings of whoever runs the tests. */
function environment(settings: Record<string, string>): Record<string, string | undefined> {
	const own = Object.entries(process.env).filter(([name]) => !name.toUpperCase().startsWith('PULSAR_'));
	return { ...Object.fromEntries(own), ...settings };
}

interface Relay {
	readonly child: ChildProcess;
	/** Resolves with the first line of the JSON log that has this message; rejects when the process ends before. */
	logged(message: string): Promise<Record<string, unknown>>;
	/** The messages of the JSON log so far. */
	messages(): string[];
	ended: Promise<{ code: number | null; signal: string | null; stdout: string; stderr: string }>;
}

function launch(
	t: TestContext,
	argv: readonly string[],
	settings: Record<string, string> = {},
	node = process.execPath,
	script = [LAUNCHER],
): Relay {
	const child = spawn(node, [...script, ...argv], { env: environment(settings), stdio: ['ignore', 'pipe', 'pipe'] });
	t.after(() => child.kill('SIGKILL'));
	let stdout = '';
	let stderr = '';
	const lines: string[] = [];
	const reader = createInterface({ input: child.stdout });
	reader.on('line', (line) => lines.push(line));
	child.stdout.on('data', (chunk) => {
		stdout += chunk;
	});
	child.stderr.on('data', (chunk) => {
		stderr += chunk;
	});
	const ended = once(child, 'close').then(([code, signal]) => ({ code, signal, stdout, stderr }));
	const logged = (message: string) =>
		new Promise<Record<string, unknown>>((resolve, reject) => {
			const look = (line: string) => {
				const entry = line.startsWith('{') ? JSON.parse(line) : {};
				if (entry.msg === message) resolve(entry);
			};
			lines.forEach(look);
			reader.on('line', look);
			ended.then((end) => reject(new Error(`ended without logging "${message}": ${JSON.stringify(end)}`)), reject);
		});
	const messages = () => lines.flatMap((line) => (line.startsWith('{') ? [String(JSON.parse(line).msg)] : []));
	return { child, logged, messages, ended };
}

function majorOf(node: string): number | undefined {
	try {
		return Number(execFileSync(node, ['--version'], { encoding: 'utf8' }).slice(1).split('.')[0]);
	} catch {
		// There is no such program; the test that needs it says so.
		return undefined;
	}
}

const systemMajor = majorOf(SYSTEM_NODE);
const noOldNode = systemMajor === undefined || systemMajor >= 24 ? `${SYSTEM_NODE} is not older than Node 24` : false;

test('under an old Node the launcher says so in one line and does not start', { skip: noOldNode }, async (t) => {
	const { code, stdout, stderr } = await launch(t, [], {}, SYSTEM_NODE).ended;
	assert.match(stderr, /^pulsar-relay needs Node 24 or newer; this is v[\d.]+\. Run `npm ci` and `npm start`.*\n$/);
	assert.deepEqual([code, stdout], [78, '']);
});

test('--help and --version print and end well', async (t) => {
	const help = await launch(t, ['--help']).ended;
	assert.deepEqual([help.code, help.stderr], [0, '']);
	assert.match(help.stdout, /^Usage: pulsar-relay/);
	const version = await launch(t, ['--version']).ended;
	assert.deepEqual([version.code, version.stderr], [0, '']);
	assert.match(version.stdout, /^pulsar-relay \d+\.\d+\.\d+, Node \d+\.\d+\.\d+\n$/);
});

test('wrong settings are all listed on standard error, with exit code 78', async (t) => {
	const { code, stdout, stderr } = await launch(t, ['--prot', '1'], { PULSAR_PORT: 'x', PULSAR_HOST: '0.0.0.0' }).ended;
	assert.deepEqual([code, stdout], [78, '']);
	const lines = stderr.trimEnd().split('\n');
	assert.equal(lines.length, 4, stderr);
	assert.match(lines[0] ?? '', /^pulsar-relay: wrong settings/);
	for (const name of ['--prot', 'PULSAR_PORT', 'PULSAR_HOST']) assert.ok(stderr.includes(`\n  ${name}: `), stderr);
});

test('a port in use is one clear line without a stack, with exit code 1', async (t) => {
	const other = createServer().listen(0, '127.0.0.1');
	t.after(() => other.close());
	await once(other, 'listening');
	const address = other.address();
	assert.ok(address !== null && typeof address === 'object');
	const { port } = address;
	const { code, stderr } = await launch(t, ['--storage-backend=memory', `--port=${port}`]).ended;
	assert.equal(
		stderr,
		`pulsar-relay: cannot start: port ${port} on 127.0.0.1 is in use; stop what uses it, or choose another with PULSAR_PORT or --port\n`,
	);
	assert.equal(code, 1);
});

for (const signal of ['SIGTERM', 'SIGINT'] as const) {
	test(`away from a terminal everything is a JSON log, and ${signal} ends the relay with code 0`, async (t) => {
		const relay = launch(t, ['--storage-backend=memory', '--port=0'], { PULSAR_WORKERS_OF_OLD: 'x' });
		const listening = await relay.logged('listening');
		assert.match(String(listening['http']), /^http:\/\/127\.0\.0\.1:\d+$/);
		assert.match(String(listening['ws']), /^ws:\/\/127\.0\.0\.1:\d+\/ws$/);
		assert.deepEqual([listening['level'], listening['mode'], listening['durability']], ['info', 'open', 'memory']);
		assert.equal((await fetch(`${listening['http']}/health`)).status, 200);
		relay.child.kill(signal);
		const { code, stdout, stderr } = await relay.ended;
		assert.deepEqual([code, stderr], [0, '']);
		const messages = stdout
			.trimEnd()
			.split('\n')
			.map((line) => JSON.parse(line).msg);
		assert.ok(messages.includes('PULSAR_WORKERS_OF_OLD is set, but this version has no such setting; it is ignored'), stdout);
		assert.equal(messages.at(-1), 'stopped');
	});
}

test('SIGHUP without TLS is logged and ends nothing, also while the relay starts', { timeout: 30_000 }, async (t) => {
	const relay = launch(t, ['--storage-backend=memory', '--port=0'], { PULSAR_OF_OLD: 'x' });
	// Logged once the handlers of signals are there, before anything is opened.
	await relay.logged('PULSAR_OF_OLD is set, but this version has no such setting; it is ignored');
	relay.child.kill('SIGHUP');
	const { http } = await relay.logged('listening');
	relay.child.kill('SIGHUP');
	await relay.logged('SIGHUP has no effect: without TLS there is nothing to read again, and settings are read at the start');
	assert.equal((await fetch(`${http}/health`)).status, 200);
	relay.child.kill('SIGTERM');
	assert.equal((await relay.ended).code, 0, 'it still drains');
});

test('a limit of open files below the connections is said; what is over it is cut off, counted and logged once', {
	timeout: 30_000,
}, async (t) => {
	const command = `ulimit -n 80; exec "$0" "$@"`;
	const relay = launch(t, ['-c', command, process.execPath, LAUNCHER, '--storage-backend=memory', '--port=0'], {}, '/bin/sh', []);
	const listening = await relay.logged('listening');
	const warning = /^the process may have 80 files open, so it cannot hold the 20000 connections of PULSAR_MAX_CONNECTIONS/;
	assert.ok(
		relay.messages().some((message) => warning.test(message)),
		relay.messages().join('\n'),
	);
	const { port, hostname } = new URL(String(listening['http']));
	const sockets = Array.from({ length: 100 }, () => connect({ port: Number(port), host: hostname }).resume());
	t.after(() => {
		for (const socket of sockets) socket.destroy();
	});
	await new Promise<void>((resolve) => {
		let cutOff = 0;
		for (const socket of sockets) {
			socket.on('error', () => {});
			socket.on('close', () => {
				if (++cutOff === 60) resolve();
			});
		}
	});
	for (const socket of sockets) socket.destroy();
	const cutOff = await relay.logged('connections are cut off');
	assert.deepEqual([cutOff['connections_max'], cutOff['reason']], [40, 'the limit of open files (ulimit -n, LimitNOFILE)']);
	let metrics: string | undefined;
	// The relay takes a moment to see that the others have gone.
	for (let tries = 0; metrics === undefined && tries < 200; tries++) {
		metrics = await fetch(`${listening['http']}/metrics`).then(
			(answer) => answer.text(),
			() => undefined,
		);
	}
	assert.match(metrics ?? '', /^relay_connections_dropped_total [6-9]\d$/m);
	assert.equal(relay.messages().filter((message) => message === 'connections are cut off').length, 1);
});

test('stopping `npm start` stops the relay with it, by a drain', { timeout: 30_000 }, async (t) => {
	const root = fileURLToPath(new URL('../../../../../', import.meta.url));
	const argv = ['start', '--', '--storage-backend=memory', '--port=0'];
	const npm = spawn('npm', argv, { cwd: root, env: environment({}), stdio: ['ignore', 'pipe', 'ignore'], detached: true });
	t.after(() => killGroup(npm));
	const messages: string[] = [];
	for await (const line of createInterface({ input: npm.stdout })) {
		if (!line.startsWith('{')) continue;
		messages.push(JSON.parse(line).msg);
		if (messages.at(-1) === 'listening') npm.kill('SIGTERM');
	}
	if (npm.exitCode === null) await once(npm, 'exit');
	assert.deepEqual([npm.exitCode, messages.at(-1)], [0, 'stopped']);
});

/** Kills what the child left behind, when it left something. */
function killGroup(child: ChildProcess): void {
	try {
		process.kill(-Number(child.pid), 'SIGKILL');
	} catch (error) {
		assert.equal(error instanceof Error && 'code' in error && error.code, 'ESRCH');
	}
}
