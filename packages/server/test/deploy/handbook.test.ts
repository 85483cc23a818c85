/** Every command of docs/operations.md and docs/stack.md, run as it stands there, on the stack without containers. */

import assert from 'node:assert/strict';
import { mkdirSync, readFileSync, statSync } from 'node:fs';
import { readdir, readFile, symlink, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { after, before as beforeAll, describe, test } from 'node:test';
import { send, sendJson } from '../support/http-client.ts';
import { type RelayProcess, startRelayProcess } from '../support/process.ts';
import { startValkey, untilAnswer, type Valkey, valkeyUnavailable } from '../support/valkey.ts';
import { ROOT, readText } from './files.ts';
import { commandsInText, sectionsWithCommands, standInForDocker } from './handbook.ts';
import { missing } from './programs.ts';
import { PASSWORD, type Stack, startStack } from './stack.ts';

/** What each block of each section prints, in order. A block that is not here, or one that is here and not there, is a failure. */
const SHOWN: Readonly<Record<string, readonly RegExp[]>> = {
	Operations: [/^PONG$/m, /^PONG$/m],
	'What an acknowledgement survives': [
		/"durability":"everysec"/,
		/^appendonly\nyes\nappendfsync\neverysec$/m,
		/^OK\n.*"durability":"disk"/,
	],
	'Looking at messages': [
		/^3\n(\d+-0\n|\d+-\d+\n|v\n|1\n|payload\n|"hello"\n)+$/,
		/"message_count":3[\s\S]*"payload":"hello"/,
		/^3 test$/m,
	],
	Accounts: [/^[1-9]\d*\n1\n1\n$/],
	Memory: [/^used_memory_human:[\s\S]*^maxmemory_policy:noeviction[\s\S]*^\d+$[\s\S]*Biggest stream found .*topic:test:stream/m],
	'A crash, for practice': [
		/"accepted":1000[\s\S]*\n1000\n$/,
		/"ready":false[\s\S]*"error":"storage_unavailable"/,
		/"ready":true.*\n1000\n$/,
	],
	Trimming: [/"max_messages":500/, /^\d+\n90\n10\n$/, /"gaps":\[\{"topic":"crash","reason":"trimmed"/, /^204$/m],
	Clocks: [/^204\n1\n1\n[\s\S]*"ready":true/],
	Backup: [/rdb_last_bgsave_status:ok/],
	Restore: [/"ready":true.*\n3\n$/],
	'A damaged file': [/Successfully truncated AOF[\s\S]*"ready":true.*\n4\n$/],
	'Everything at once': [/^OK\n/],
	'The embedded store': [/auth\.db\n.*relay\.db$/m],
	Failover: [
		/master_link_status:up[\s\S]*role:master[\s\S]*connected_slaves:1/,
		/^OK\n[\s\S]*role:master[\s\S]*"ready":true/,
		/^OK\n[\s\S]*"ready":true/,
	],
	'Not persisting': [/aof_enabled:1[\s\S]*aof_last_write_status:ok[\s\S]*appendonly\.aof\.manifest/],
	'High memory': [/used_memory_human:[\s\S]*last-generated-id/, /^OK\nmaxmemory\n3221225472$/m],
	Slow: [/^\d+ \d+ [\d.]+ \d+$[\s\S]*aof_delayed_fsync:\d+[\s\S]*cmdstat_evalsha/m],
	'Start it': [/^$/, /"ready":true/],
};

/** The settings of a relay with accounts. */
const ACCOUNTS = { PULSAR_AUTH: 'required', PULSAR_JWT_SECRET_KEY: 'a secret of the tests, longer than 32 characters' };
const ADMIN = { PULSAR_BOOTSTRAP_ADMIN_USERNAME: 'root', PULSAR_BOOTSTRAP_ADMIN_PASSWORD: PASSWORD };

const skip = valkeyUnavailable() ?? missing(['curl'], 'curl');

describe('the commands of the handbook', { skip, timeout: 300_000 }, () => {
	let stack: Stack;
	let relay: RelayProcess;
	let replica: Valkey;
	let embedded: RelayProcess;
	let endDocker: () => Promise<void>;
	let directory: string;
	let url: string;

	/** The relay, on the port that it had before. */
	const startRelay = async (port: string, more: Readonly<Record<string, string>> = {}) => {
		relay = await startRelayProcess(stack.dataDir, { ...stack.relayEnv, PULSAR_PORT: port, ...more });
		url = relay.url;
	};
	const publishThree = async (to: string) => {
		for (let i = 0; i < 3; i++) {
			const answer = await sendJson('POST', `${to}/api/v1/messages`, { topic: 'test', payload: 'hello' });
			assert.equal(answer.status, 201, answer.text);
		}
	};
	/** The relay, the server and its replica of the page are those of the test. */
	const here = (text: string) =>
		text
			.replaceAll('127.0.0.1:8080', new URL(url).host)
			.replace(/\b6379\b/g, String(stack.port))
			.replace(/\b6380\b/g, String(replica.port));
	const run = async (block: string) => {
		const { code, stdout, stderr } = await stack.shell(`set -eu\n${here(block)}`);
		assert.equal(code, 0, `${block}\n${stdout}\n${stderr}`);
		return stdout.replaceAll('\r', '');
	};

	beforeAll(async () => {
		stack = await startStack();
		replica = await startValkey({ password: PASSWORD, settings: { appendonly: 'yes', 'repl-diskless-sync-delay': '0' } });
		await stack.cli('CONFIG', 'SET', 'repl-diskless-sync-delay', '0');
		await startRelay('0');
		await publishThree(url);
		directory = dirname(stack.passwordFile);
		mkdirSync(join(directory, 'secrets'), { mode: 0o700 });
		await writeFile(join(directory, 'secrets/valkey_password'), PASSWORD);
		embedded = await startRelayProcess(join(directory, 'data'));
		await publishThree(embedded.url);
		endDocker = await standInForDocker(join(directory, 'bin'), stack, {
			valkey: { start: () => stack.startValkey(), stop: (signal) => stack.endValkey(signal) },
			relay: { start: () => startRelay(new URL(url).port), stop: (signal) => relay.end(signal) },
		});
	});

	after(async () => {
		await endDocker?.();
		for (const process of [relay, embedded]) if (process?.child.exitCode === null) await process.end('SIGKILL');
		await replica?.stop();
		await stack?.stop();
	});

	const signIn = async (to: string) => {
		const body = new URLSearchParams({ username: 'root', password: PASSWORD });
		const answer = await send(`${to}/auth/login`, { method: 'POST', body });
		assert.equal(answer.status, 200);
		return answer.json<{ access_token: string }>().access_token;
	};

	/** What has happened when the reader comes to a block: its section, and its place there from 0. */
	const before: Readonly<Record<string, () => Promise<void>>> = {
		'Accounts 0': async () => {
			const env = { ...stack.relayEnv, ...ACCOUNTS, ...ADMIN, PULSAR_PORT: '0' };
			const another = await startRelayProcess(stack.dataDir, env);
			// The commands of "Looking at messages" find a topic of an account, too.
			const authorization = `Bearer ${await signIn(another.url)}`;
			const answer = await sendJson('POST', `${another.url}/api/v1/messages`, { topic: 'roll', payload: 1 }, { authorization });
			assert.equal(answer.status, 201, answer.text);
			const looking = sectionsWithCommands('docs/operations.md').find(({ heading }) => heading === 'Looking at messages');
			assert.match(await run((looking?.blocks[0] ?? '').replace('test$', 'roll$')), /^1\n\d+-\d+\n/);
			assert.equal(await another.end('SIGTERM'), 0);
		},
		'Clocks 0': async () => {
			await stack.cli('XADD', 'topic:ahead:stream', '9000000000000-0', 'payload', '1');
			const id = (await sendJson('POST', `${url}/api/v1/messages`, { topic: 'ahead', payload: 1 })).json()['message_id'];
			assert.equal(id, '9000000000000-1');
		},
		'The embedded store 0': async () => {
			await symlink(join(ROOT, 'node_modules'), join(directory, 'node_modules'));
			await embedded.end('SIGTERM');
			embedded = await startRelayProcess(join(directory, 'data'), { ...ACCOUNTS, ...ADMIN });
			await signIn(embedded.url);
		},
		'A damaged file 0': async () => {
			await publishThree(url);
			await stack.endValkey('SIGKILL');
			await damageLastMessage(join(stack.dataDir, 'appendonlydir'));
			await assert.rejects(stack.startValkey(), /Bad file format/);
		},
		'Failover 1': async () => {
			await relay.end('SIGTERM');
			const [, addresses = ''] = /^PULSAR_VALKEY_ADDRESSES=(.*)$/m.exec(readText('docs/operations.md')) ?? [];
			await startRelay(new URL(url).port, { PULSAR_VALKEY_ADDRESSES: here(addresses) });
		},
		'Failover 2': async () => {
			// In sync with the one that dies now, as after any planned failover.
			await untilAnswer(async () => (await stack.cli('INFO', 'replication')).includes('master_link_status:up'), 'in sync');
			await replica.kill('SIGKILL');
		},
	};
	/** What stands before a block when it is run. */
	const prelude: Readonly<Record<string, string>> = {
		// The Node of the machine, which may be old, comes first there.
		'The embedded store 0': 'PATH="/usr/bin:$PATH"\n',
	};
	/** What must be true afterwards, beside what was shown. */
	const afterwards: Readonly<Record<string, () => Promise<void>>> = {
		'Clocks 0': async () => {
			const { message_id: id } = (await sendJson('POST', `${url}/api/v1/messages`, { topic: 'ahead', payload: 1 })).json();
			assert.ok(Number.parseInt(String(id), 10) <= Date.now() + 1000, `by the clock: ${id}`);
		},
		'Everything at once 0': async () => {
			assert.equal((await send(`${url}/api/v1/topics/test`)).status, 404);
			await publishThree(url);
		},
		'The embedded store 0': async () => {
			// The copy, as it is, is a data directory: of a relay that serves what the other one had.
			const restored = await startRelayProcess(join(directory, 'backup'));
			const topic = await send(`${restored.url}/api/v1/topics/test`);
			assert.equal(topic.json()['message_count'], 3);
			assert.equal(await restored.end('SIGTERM'), 0);
			const withAccounts = await startRelayProcess(join(directory, 'backup'), ACCOUNTS);
			await signIn(withAccounts.url);
			assert.equal(await withAccounts.end('SIGTERM'), 0);
			assert.equal(statSync(join(directory, 'backup/auth.db')).mode & 0o777, 0o600);
		},
		'Start it 0': async () => {
			for (const name of ['valkey_password', 'grafana_password'])
				assert(readFileSync(join(directory, 'secrets', name)).length > 20);
			assert.match(readFileSync(join(directory, 'secrets/grafana_password'), 'utf8'), /^[0-9a-f]{48}$/);
			assert.equal(statSync(join(directory, 'secrets')).mode & 0o777, 0o700);
		},
	};

	for (const page of ['docs/operations.md', 'docs/stack.md']) {
		for (const { heading, blocks } of sectionsWithCommands(page)) {
			test(`${page}: ${heading}`, async () => {
				const shown = SHOWN[heading] ?? [];
				assert.equal(shown.length, blocks.length, 'blocks, and what they show');
				for (const [i, block] of blocks.entries()) {
					await before[`${heading} ${i}`]?.();
					assert.match(await run(`${prelude[`${heading} ${i}`] ?? ''}${block}`), shown[i] ?? /^$/);
					await afterwards[`${heading} ${i}`]?.();
				}
			});
		}
	}

	test('the commands of valkey-cli in the text', async () => {
		const commands = commandsInText('docs/operations.md');
		assert(commands.length > 0);
		// CLUSTER INFO is for a Cluster; that the server knows it, and says so, is what can be shown here.
		const refusals = /^(?!ERR This instance has cluster support disabled$)(ERR|WRONGTYPE)/;
		for (const command of commands) assert.doesNotMatch((await run(command)).trim(), refusals, command);
	});

	test('every section for which something is expected is there', () => {
		const headings = ['docs/operations.md', 'docs/stack.md'].flatMap(sectionsWithCommands).map(({ heading }) => heading);
		assert.deepEqual(Object.keys(SHOWN).sort(), headings.sort());
	});
});

test('every reason for which Valkey can make the relay refuse is explained', () => {
	const table = readText('packages/server/src/stores/valkey/failure.ts');
	const reasons = [...table.matchAll(/^\t\[\/.*, '([^']+)'\],$/gm)].map(([, reason = '']) => reason);
	assert(reasons.length > 5);
	const explained = readText('docs/operations.md');
	for (const reason of reasons) assert(explained.includes(reason), reason);
});

/** Spoils the last write but one of the newest append-only file: what follows it is whole. */
async function damageLastMessage(directory: string): Promise<void> {
	const name =
		(await readdir(directory))
			.filter((one) => one.endsWith('.incr.aof'))
			.sort()
			.at(-1) ?? assert.fail('no file');
	const bytes = await readFile(join(directory, name));
	const last = bytes.lastIndexOf('hello');
	const lastButOne = bytes.lastIndexOf('hello', last - 1);
	bytes.fill('?', bytes.lastIndexOf('$', lastButOne), lastButOne);
	await writeFile(join(directory, name), bytes);
}
