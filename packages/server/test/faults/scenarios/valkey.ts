/** A Valkey server that is killed, frozen, full, emptied, or that an operator works on. */

import { readdir, stat, truncate } from 'node:fs/promises';
import { join } from 'node:path';
import { startValkey, type Valkey } from '../../support/valkey.ts';
import { type LoadOptions, type LoadReport, type LoadSize, type RunningLoad, runLoad } from '../load.ts';
import { RelayNode } from '../node.ts';
import { answersLate, anyGaps, findingsBut, gapsLate, type Scenario, unless, untilRefused } from '../scenario.ts';

/** Two relays over one server, under load. */
async function overTwoRelays(
	size: LoadSize,
	valkey: Valkey,
	fault: (load: RunningLoad, urls: readonly string[]) => Promise<void>,
	check: Pick<LoadOptions, 'removed'> = {},
): Promise<LoadReport> {
	await using first = await RelayNode.start(valkey.relayEnv);
	await using second = await RelayNode.start(valkey.relayEnv);
	const urls = [first.url, second.url];
	return await runLoad({ size, urls, fault: (load) => fault(load, urls), ...check });
}

/** Kills Valkey under load; what it had acknowledged is there when it is back, at a durability of `process` and above. */
function killValkey(appendfsync: 'always' | 'no'): Scenario {
	return {
		name: `kill -9 of Valkey, appendfsync ${appendfsync}`,
		async run(size) {
			await using valkey = await startValkey({ settings: { appendonly: 'yes', appendfsync } });
			const report = await overTwoRelays(size, valkey, killAndRestart(valkey));
			return { report, problems: [...findingsBut(report), ...anyGaps(report), ...answersLate(report)] };
		},
	};
}

/** The same where writes are held back while a flush is slow: what is lost is from the last two seconds, and is told of. */
const killEverysec: Scenario = {
	name: 'kill -9 of Valkey, appendfsync everysec',
	async run(size) {
		await using valkey = await startValkey({ settings: { appendonly: 'yes', appendfsync: 'everysec' } });
		const report = await overTwoRelays(size, valkey, killAndRestart(valkey), { removed: true });
		const lost = report.findings.some(({ kind }) => kind === 'lost');
		return {
			report,
			problems: [
				...findingsBut(report, 'lost'),
				...(lost ? [...gapsLate(report), ...lostEarlier(report)] : anyGaps(report)),
				...answersLate(report),
			],
		};
	},
};

/** How long `everysec` may hold writes back, and what passes between an answer and its being noted. */
const HELD_BACK_MS = 2200;

function lostEarlier({ history, faultFromMs }: LoadReport): string[] {
	const early = history.publishes.filter(({ topic, payload, outcome }) => {
		if (outcome.status !== 'acked' || outcome.atMs > faultFromMs - HELD_BACK_MS) return false;
		return !history.logs.get(topic)?.some((stored) => stored.payload === payload);
	});
	return unless(
		early.length === 0,
		`${early.length} messages were lost that were acknowledged ${HELD_BACK_MS} ms before the kill`,
	);
}

function killAndRestart(valkey: Valkey): (load: RunningLoad, urls: readonly string[]) => Promise<void> {
	return async (load, urls) => {
		await valkey.kill('SIGKILL');
		await untilRefused(load, urls);
		await valkey.restart();
	};
}

/** A stopped process holds its connections and its port, and answers nothing. */
function freezeValkey(seconds: number): Scenario {
	return {
		name: `SIGSTOP of Valkey for ${seconds} s`,
		async run(size) {
			await using valkey = await startValkey({ settings: { appendonly: 'yes' } });
			const report = await overTwoRelays(size, valkey, async () => {
				valkey.pause();
				await new Promise((resolve) => setTimeout(resolve, seconds * 1000));
				valkey.resume();
			});
			return {
				report,
				problems: [
					...findingsBut(report),
					...anyGaps(report),
					...answersLate(report),
					...ackedWhileFrozen(report),
					...unless(!report.broken.some((transport) => transport !== 'long-poll'), `broken connections: ${report.broken}`),
				],
			};
		},
	};
}

/** What was under way may be answered in the first moment. */
const UNDER_WAY_MS = 200;

function ackedWhileFrozen({ attempts, faultFromMs, faultToMs }: LoadReport): string[] {
	const acked = attempts.filter(({ status, sentAtMs, tookMs }) => {
		const atMs = sentAtMs + tookMs;
		return status === 201 && atMs > faultFromMs + UNDER_WAY_MS && atMs < faultToMs;
	});
	return unless(acked.length === 0, `${acked.length} publishes were acknowledged by a frozen server`);
}

const REFUSALS = 20;

const fullValkey: Scenario = {
	name: 'maxmemory reached, noeviction',
	async run(size) {
		await using valkey = await startValkey({ settings: { appendonly: 'yes', 'maxmemory-policy': 'noeviction' } });
		const reads: number[] = [];
		const report = await overTwoRelays(size, valkey, async (load, urls) => {
			// Less than is used: nothing more can be written, everything can be read.
			await valkey.cli('CONFIG', 'SET', 'maxmemory', '1mb');
			await untilRefused(load, urls, REFUSALS);
			for (const url of urls) {
				for (const topic of load.topics)
					reads.push((await fetch(`${url}/api/v1/poll?topics=${topic}&since=earliest&timeout=0`)).status);
			}
			await valkey.cli('CONFIG', 'SET', 'maxmemory', '0');
		});
		return {
			report,
			problems: [
				...findingsBut(report),
				...anyGaps(report),
				...answersLate(report),
				...unless(
					reads.every((status) => status === 200),
					`polls from the beginning were answered ${reads}`,
				),
			],
		};
	},
};

/** The part of the append-only file that is cut off. */
const CUT = 0.2;

const truncatedFile: Scenario = {
	name: 'append-only file with a truncated tail',
	async run(size) {
		await using valkey = await startValkey({ settings: { appendonly: 'yes', 'aof-load-truncated': 'yes' } });
		const report = await overTwoRelays(
			size,
			valkey,
			async (load, urls) => {
				await valkey.kill('SIGKILL');
				await untilRefused(load, urls);
				await cutFile(valkey);
				await valkey.restart();
			},
			{ removed: true },
		);
		return {
			report,
			problems: [
				...findingsBut(report, 'lost'),
				...gapsLate(report),
				...unless(report.gaps.length > 0, 'nobody was told by a gap'),
				...unless(
					report.findings.some(({ kind }) => kind === 'lost'),
					'the cut lost nothing: the run shows nothing',
				),
			],
		};
	},
};

async function cutFile(valkey: Valkey): Promise<void> {
	const directory = join(valkey.dir, 'appendonlydir');
	const name = (await readdir(directory)).find((file) => file.endsWith('.incr.aof'));
	const path = join(directory, name ?? '');
	await truncate(path, Math.floor((await stat(path)).size * (1 - CUT)));
}

const flushed: Scenario = {
	name: 'FLUSHALL under live subscribers',
	async run(size) {
		await using valkey = await startValkey({ settings: { appendonly: 'yes' } });
		const report = await overTwoRelays(size, valkey, async () => void (await valkey.cli('FLUSHALL')), { removed: true });
		return {
			report,
			problems: [...findingsBut(report, 'lost'), ...gapsLate(report), ...untold(report)],
		};
	},
};

/** Subscribers that had something of a topic which is gone, and got no gap. */
function untold({ history }: LoadReport): string[] {
	const silent = history.traces.filter(({ topic, items }) => {
		const kept = new Set(history.logs.get(topic)?.map(({ id }) => id));
		const hadGone = items.some((item) => item.kind === 'message' && !kept.has(item.id));
		return hadGone && !items.some(({ kind }) => kind === 'gap');
	});
	const [first] = silent;
	return first === undefined
		? []
		: [`${silent.length} traces had lost messages and no gap, ${first.subscriber} in ${first.topic}`];
}

const operator: Scenario = {
	name: "an operator's own XADD, XTRIM and DEL",
	async run(size) {
		await using valkey = await startValkey({ settings: { appendonly: 'yes' } });
		const report = await overTwoRelays(
			size,
			valkey,
			async ({ topics, byHand, publishers }) => {
				const [added = '', trimmed = '', deleted = ''] = topics;
				for (let i = 0; i < 20; i++) {
					const payload = `"by hand ${i}"`;
					const id = await valkey.cli('XADD', `topic:${added}:stream`, '*', 'payload', payload);
					byHand.push({
						topic: added,
						key: `by-hand-${i}`,
						lane: 'operator',
						payload,
						outcome: { status: 'acked', id, atMs: performance.now() },
					});
				}
				await valkey.cli('XTRIM', `topic:${trimmed}:stream`, 'MAXLEN', '10');
				await publishers.untilAcked(publishers.acked + size.messagesPerS / 2);
				await valkey.cli('DEL', `topic:${deleted}:stream`);
			},
			{ removed: true },
		);
		const [added] = report.history.logs.keys();
		return {
			report,
			problems: [
				...findingsBut(report, 'lost'),
				...gapsLate(report),
				...unless(!report.gaps.some(({ topic }) => topic === added), `gaps in ${added}, of which nothing was removed`),
			],
		};
	},
};

/** Longer than relays take to notice: each look finds one entry that was removed. */
const NOTICED_MS = 1500;

const removedBehind: Scenario = {
	name: 'entries removed by XDEL, and a stream renamed away and back',
	async run(size) {
		await using valkey = await startValkey({ settings: { appendonly: 'yes' } });
		const report = await overTwoRelays(
			size,
			valkey,
			async ({ topics }) => {
				const [removed = '', renamed = ''] = topics;
				for (let i = 0; i < 3; i++) {
					const entries = await valkey.cli('--json', 'XREVRANGE', `topic:${removed}:stream`, '+', '-', 'COUNT', '5');
					const [id = ''] = (JSON.parse(entries) as [string, unknown][])[4] ?? [];
					await valkey.cli('XDEL', `topic:${removed}:stream`, id);
					await new Promise((resolve) => setTimeout(resolve, NOTICED_MS));
				}
				await valkey.cli('RENAME', `topic:${renamed}:stream`, 'elsewhere');
				await new Promise((resolve) => setTimeout(resolve, NOTICED_MS));
				await valkey.cli('RENAME', 'elsewhere', `topic:${renamed}:stream`);
			},
			{ removed: true },
		);
		const [removed, renamed] = report.history.logs.keys();
		const told = (topic: string | undefined) => report.gaps.some((gap) => gap.topic === topic);
		return {
			report,
			problems: [
				...findingsBut(report, 'lost'),
				...gapsLate(report),
				...unless(told(removed) || told(renamed), 'nobody was told of anything: the run shows nothing'),
			],
		};
	},
};

export const valkeyScenarios: readonly Scenario[] = [
	killEverysec,
	killValkey('always'),
	killValkey('no'),
	freezeValkey(5),
	{ ...freezeValkey(15), fullOnly: true },
	fullValkey,
	truncatedFile,
	flushed,
	operator,
	removedBehind,
];
