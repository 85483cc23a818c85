/** Gathering the metrics of workers that answer, are late, or die. */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { MetricReport, Report } from '../../../src/ops/report.ts';
import { Scrapes } from '../../../src/workers/scrapes.ts';

/** A worker's process: reports a count and a gauge, when it is told to. */
interface Source {
	readonly asked: number[];
	onAsked: (scrape: number) => void;
}

function metric(name: string, type: MetricReport['type'], value: number): MetricReport {
	return { name, help: name, type, aggregator: 'sum', values: [{ labels: {}, value }] };
}

function report(counted: number, open: number): Report {
	return [metric('counted_total', 'counter', counted), metric('open', 'gauge', open)];
}

function setUp() {
	let deaths = 0;
	const scrapes = new Scrapes<Source>({
		workers: 2,
		timeoutMs: 20,
		deaths: () => deaths,
		ask: (source, scrape) => {
			source.asked.push(scrape);
			source.onAsked(scrape);
		},
	});
	const source = (): Source => ({ asked: [], onAsked: () => {} });
	/** Answers at once from now on. */
	const answers = (from: Source, counted: number, open: number) => {
		from.onAsked = (scrape) => scrapes.reported(from, scrape, report(counted, open));
	};
	const dies = (from: Source) => {
		deaths++;
		scrapes.gone(from);
	};
	return { scrapes, source, answers, dies };
}

function values(text: string): Record<string, number> {
	const names = ['counted_total', 'open', 'relay_workers', 'relay_workers_configured', 'relay_worker_deaths_total'];
	const found = names.map((name) => [name, new RegExp(`^${name} (.*)$`, 'm').exec(text)?.[1]] as const);
	return Object.fromEntries(found.flatMap(([name, value]) => (value === undefined ? [] : [[name, Number(value)]])));
}

test('what the workers report is summed up, with the numbers of the primary', async () => {
	const { scrapes, source, answers } = setUp();
	const [a, b] = [source(), source()];
	answers(a, 5, 1);
	answers(b, 7, 2);
	const text = await scrapes.text([a, b]);
	assert.deepEqual(values(text), {
		counted_total: 12,
		open: 3,
		relay_workers: 2,
		relay_workers_configured: 2,
		relay_worker_deaths_total: 0,
	});
	assert.match(text, /^process_cpu_seconds_total [\d.e-]+$/m);
	assert.match(text, /^process_start_time_seconds \d+/m);
});

test('of a worker that does not answer the last counters count, and its gauges do not', async () => {
	const { scrapes, source, answers } = setUp();
	const [a, b] = [source(), source()];
	answers(a, 5, 1);
	answers(b, 7, 2);
	await scrapes.text([a, b]);
	answers(a, 6, 1);
	b.onAsked = () => {};
	const { counted_total, open, relay_workers } = values(await scrapes.text([a, b]));
	assert.deepEqual([counted_total, open, relay_workers], [13, 1, 1]);
});

test('a worker that never answered is left out, and the scrape ends', async () => {
	const { scrapes, source } = setUp();
	assert.deepEqual(values(await scrapes.text([source()])), {
		relay_workers: 0,
		relay_workers_configured: 2,
		relay_worker_deaths_total: 0,
	});
});

test('what dead workers had counted stays counted, once, however many die', async () => {
	const { scrapes, source, answers, dies } = setUp();
	const [a, b, c] = [source(), source(), source()];
	answers(a, 5, 1);
	answers(b, 7, 2);
	await scrapes.text([a, b]);
	dies(b);
	answers(c, 1, 1);
	const first = values(await scrapes.text([a, c]));
	assert.deepEqual([first['counted_total'], first['open'], first['relay_worker_deaths_total']], [13, 2, 1]);
	dies(a);
	dies(c);
	const second = values(await scrapes.text([]));
	assert.deepEqual([second['counted_total'], second['open'], second['relay_worker_deaths_total']], [13, undefined, 3]);
});

test('a worker that dies while it is waited for is not waited for any more, and one that had answered counts once', async () => {
	const { scrapes, source, answers, dies } = setUp();
	const [a, b] = [source(), source()];
	answers(a, 5, 1);
	b.onAsked = () => {
		dies(a);
		dies(b);
	};
	const { counted_total, relay_workers } = values(await scrapes.text([a, b]));
	assert.deepEqual([counted_total, relay_workers], [5, 0]);
});

test('an answer to an earlier scrape is no answer to this one', async () => {
	const { scrapes, source, answers } = setUp();
	const a = source();
	const first = scrapes.text([a]);
	const second = scrapes.text([a]);
	scrapes.reported(a, a.asked[0] ?? 0, report(1, 1));
	assert.equal(values(await first)['relay_workers'], 1);
	assert.deepEqual([values(await second)['relay_workers'], values(await second)['counted_total']], [0, 1]);
	answers(a, 2, 1);
	assert.equal(values(await scrapes.text([a]))['counted_total'], 2);
});
