/** What happens to the files of a relay while it publishes: never a 201 for what is not kept. */

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdir, mkdtemp, rename, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { send, sendJson } from '../support/http-client.ts';
import { type LaunchedRelay, launchRelay } from '../support/launch.ts';

const MIB = 1024 * 1024;
const PUBLISHERS = 4;
const LIMIT = { timeout: 60_000 };

interface Disk {
	readonly parent: string;
	readonly dataDir: string;
}

async function makeDisk(t: TestContext, mountOptions?: string): Promise<Disk | undefined> {
	const parent = await mkdtemp(join(tmpdir(), 'pulsar-files-'));
	// Before its directory can be removed it has to be unmounted, so in this order.
	const mounted = mountOptions === undefined || mount(t, parent, mountOptions);
	t.after(() => rm(parent, { recursive: true, force: true }));
	return mounted ? { parent, dataDir: join(parent, 'data') } : undefined;
}

/** Mounts a file system that is unmounted after the test, when nobody uses it any more. */
function mount(t: TestContext, path: string, options: string): boolean {
	try {
		execFileSync('mount', ['-t', 'tmpfs', '-o', options, 'tmpfs', path], { stdio: 'pipe' });
	} catch {
		t.skip('mounting needs root');
		return false;
	}
	t.after(() => execFileSync('umount', ['--lazy', path]));
	return true;
}

class Publishing {
	readonly acked = new Set<number>();
	/** Acknowledged although they were begun after {@link lost}. */
	readonly wronglyAcked: number[] = [];
	refused = 0;
	#next = 0;
	#lost = false;
	#stopped = false;
	readonly #done: Promise<unknown>;
	readonly #url: string;

	constructor(url: string) {
		this.#url = url;
		this.#done = Promise.all(Array.from({ length: PUBLISHERS }, () => this.#publish()));
	}

	/** From here on nothing that is begun may be acknowledged. */
	lost(): void {
		this.#lost = true;
	}

	async #publish(): Promise<void> {
		while (!this.#stopped) {
			const payload = this.#next++;
			const begunAfter = this.#lost;
			const answer = await sendJson('POST', `${this.#url}/api/v1/messages`, {
				topic: 't',
				payload,
				metadata: { pad: 'x'.repeat(2000) },
			});
			if (answer.status === 201) {
				this.acked.add(payload);
				if (begunAfter) this.wronglyAcked.push(payload);
			} else {
				assert.equal(answer.status, 503, answer.text);
				this.refused++;
			}
		}
	}

	async until(condition: () => boolean | Promise<boolean>): Promise<void> {
		while (!(await condition())) await send(`${this.#url}/health`);
	}

	async stop(): Promise<void> {
		this.#stopped = true;
		await this.#done;
	}
}

async function start(t: TestContext, dataDir: string, env: Readonly<Record<string, string>> = {}) {
	const relay = launchRelay(t, { PULSAR_DATA_DIR: dataDir, ...env });
	const url = String((await relay.logged('listening'))['http']);
	const ready = async () => {
		const answer = await send(`${url}/ready`);
		return { status: answer.status, storage: answer.json<{ checks: { storage: string } }>().checks.storage };
	};
	return { relay, url, ready };
}

/** Kills the relay, and checks that one which starts on the directory has everything that was acknowledged. */
async function assertKept(t: TestContext, relay: LaunchedRelay, dataDir: string, acked: ReadonlySet<number>): Promise<void> {
	relay.child.kill('SIGKILL');
	await relay.ended;
	const { url } = await start(t, dataDir);
	const kept = new Set<number>();
	let cursor = '';
	do {
		const page = await send(`${url}/api/v1/topics/t/messages?order=asc&limit=1000${cursor}`);
		const { messages, next_cursor: next } = page.json<{ messages: { payload: number }[]; next_cursor: string | null }>();
		for (const { payload } of messages) kept.add(payload);
		cursor = messages.length === 0 || next === null ? '' : `&cursor=${next}`;
	} while (cursor !== '');
	const missing = [...acked].filter((payload) => !kept.has(payload));
	assert.deepEqual(missing, [], `of ${acked.size} acknowledged messages`);
}

test('files removed while it publishes: 503 from then on, not ready with the reason, and alive', LIMIT, async (t) => {
	const disk = await makeDisk(t);
	if (disk === undefined) return;
	const { url, ready, relay } = await start(t, disk.dataDir);
	const publishing = new Publishing(url);
	await publishing.until(() => publishing.acked.size > 100);
	await Promise.all(['relay.db', 'relay.db-wal', 'relay.db-shm'].map((name) => rm(join(disk.dataDir, name))));
	publishing.lost();
	const before = publishing.refused;
	await publishing.until(() => publishing.refused > before + 50);
	await publishing.stop();
	assert.deepEqual(publishing.wronglyAcked, []);
	const { status, storage } = await ready();
	assert.equal(status, 503);
	assert.match(storage, /^relay\.db was removed, moved or replaced/);
	assert.equal((await send(`${url}/health`)).status, 200);
	assert.equal(relay.child.exitCode, null);
});

test('a directory moved away and back while it publishes keeps every message that was acknowledged', LIMIT, async (t) => {
	const disk = await makeDisk(t);
	if (disk === undefined) return;
	const { url, ready, relay } = await start(t, disk.dataDir);
	const publishing = new Publishing(url);
	await publishing.until(() => publishing.acked.size > 100);
	const moved = join(disk.parent, 'moved');
	await rename(disk.dataDir, moved);
	await publishing.until(() => publishing.refused > 20);
	assert.equal((await ready()).status, 503);
	await rename(moved, disk.dataDir);
	const before = publishing.acked.size;
	await publishing.until(() => publishing.acked.size > before + 100);
	await publishing.stop();
	assert.equal((await ready()).status, 200);
	await assertKept(t, relay, disk.dataDir, publishing.acked);
});

test('a file system mounted over the directory while it publishes: 503 until it is gone, nothing lost', LIMIT, async (t) => {
	const disk = await makeDisk(t);
	if (disk === undefined) return;
	const { url, ready, relay } = await start(t, disk.dataDir);
	const publishing = new Publishing(url);
	await publishing.until(() => publishing.acked.size > 100);
	try {
		execFileSync('mount', ['-t', 'tmpfs', 'tmpfs', disk.dataDir], { stdio: 'pipe' });
	} catch {
		await publishing.stop();
		t.skip('mounting needs root');
		return;
	}
	publishing.lost();
	await publishing.until(() => publishing.refused > 20);
	assert.equal((await ready()).status, 503);
	assert.deepEqual(publishing.wronglyAcked, []);
	execFileSync('umount', [disk.dataDir]);
	const before = publishing.acked.size;
	await publishing.until(() => publishing.acked.size > before + 100);
	await publishing.stop();
	await assertKept(t, relay, disk.dataDir, publishing.acked);
});

test('a disk that fills up while it publishes: 503 with the reason, and all that was acknowledged is there', LIMIT, async (t) => {
	const disk = await makeDisk(t, `size=${24 * MIB}`);
	if (disk === undefined) return;
	await mkdir(disk.dataDir);
	const { url, ready, relay } = await start(t, disk.dataDir);
	const publishing = new Publishing(url);
	await publishing.until(() => publishing.acked.size > 100);
	const filler = join(disk.parent, 'filler');
	await writeFile(filler, Buffer.alloc(18 * MIB));
	await publishing.until(() => publishing.refused > 20);
	assert.deepEqual(await ready(), { status: 503, storage: 'disk is full' });
	await rm(filler);
	const before = publishing.acked.size;
	await publishing.until(() => publishing.acked.size > before + 50);
	await publishing.stop();
	await assertKept(t, relay, disk.dataDir, publishing.acked);
});

test(
	'the file of the accounts removed: not ready with the reason, and nobody is told that a change was kept',
	LIMIT,
	async (t) => {
		const disk = await makeDisk(t);
		if (disk === undefined) return;
		const admin = { username: 'admin', password: 'planted-password-1' };
		const { url, ready } = await start(t, disk.dataDir, {
			PULSAR_JWT_SECRET_KEY: 'planted-secret-of-32-characters-or-more',
			PULSAR_BOOTSTRAP_ADMIN_USERNAME: admin.username,
			PULSAR_BOOTSTRAP_ADMIN_PASSWORD: admin.password,
		});
		const login = () =>
			send(`${url}/auth/login`, { method: 'POST', body: new URLSearchParams({ ...admin, grant_type: 'password' }) });
		const { access_token: token } = (await login()).json<{ access_token: string }>();
		await rm(join(disk.dataDir, 'auth.db'));
		assert.equal((await login()).status, 503, 'a session that would not be kept');
		const person = { username: 'somebody', password: 'planted-password-2', permissions: ['read'] };
		const made = await sendJson('POST', `${url}/auth/register`, person, { authorization: `Bearer ${token}` });
		assert.equal(made.status, 503, made.text);
		let { status, storage } = await ready();
		// Noticed by a look within a second.
		while (status === 200) ({ status, storage } = await ready());
		assert.match(storage, /^auth\.db was removed, moved or replaced/);
	},
);
