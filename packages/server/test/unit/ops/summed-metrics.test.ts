/** Several processes' metrics as those of one relay. */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createMetrics } from '../../../src/ops/metrics.ts';
import type { MetricReport, Report } from '../../../src/ops/report.ts';
import { countersOf, reportsText, sumReports } from '../../../src/ops/summed-metrics.ts';

const health = { status: 'ok', durability: 'process' } as const;

function metricsOf(topics: number, storing = true) {
	return createMetrics({
		store: {
			stats: () => ({ topics, messages: 10 * topics, bytes: 100 * topics }),
			health: () => (storing ? health : { status: 'unavailable', reason: 'gone' }),
		},
		process: false,
	});
}

function sample(text: string, name: string): number {
	const line = text.split('\n').find((candidate) => candidate.startsWith(`${name} `));
	assert(line !== undefined, `${name} in ${text}`);
	return Number(line.slice(name.length + 1));
}

test('counters, histograms and what each process holds are summed up, line by line', async () => {
	const [a, b] = [metricsOf(3), metricsOf(3)];
	a.received(2, 20);
	b.received(5, 50);
	a.appended(4, true);
	b.appended(2000, true);
	a.delivered('websocket', 7);
	b.delivered('websocket', 1);
	b.delivered('sse', 1);
	a.connectionOpened('sse');
	b.connectionOpened('sse');
	a.observeLoad(() => ({ hotBytes: 1, queuedBytes: 2 }));
	b.observeLoad(() => ({ hotBytes: 10, queuedBytes: 20 }));
	a.route('GET', '/x').answered(200, 0.002);
	b.route('GET', '/x').answered(404, 0.002);
	a.errorAnswered('http', 'not_found');
	const text = await reportsText([await a.report(), await b.report()]);
	const expected: Readonly<Record<string, number>> = {
		relay_messages_received_total: 7,
		relay_message_bytes_received_total: 70,
		'relay_message_latency_seconds_bucket{le="0.001"}': 0,
		'relay_message_latency_seconds_bucket{le="0.005"}': 1,
		'relay_message_latency_seconds_bucket{le="+Inf"}': 2,
		relay_message_latency_seconds_sum: 2.004,
		relay_message_latency_seconds_count: 2,
		'relay_messages_delivered_total{delivery_type="websocket"}': 8,
		'relay_messages_delivered_total{delivery_type="sse"}': 1,
		'relay_connections{type="sse"}': 2,
		relay_hot_tier_bytes: 11,
		relay_publish_queue_bytes: 22,
		'http_requests_total{method="GET",status="2xx",handler="/x"}': 1,
		'http_requests_total{method="GET",status="4xx",handler="/x"}': 1,
		'http_request_duration_seconds_count{method="GET",handler="/x"}': 2,
		'relay_errors_total{type="http",code="not_found"}': 1,
	};
	for (const [name, value] of Object.entries(expected)) assert.equal(sample(text, name), value, name);
});

test('what all processes see of the one store is not summed up', async () => {
	const text = await reportsText([await metricsOf(3).report(), await metricsOf(4).report(), await metricsOf(4).report()]);
	const names = ['relay_topics', 'relay_topic_message_count', 'relay_stored_messages', 'relay_stored_bytes', 'relay_storage_up'];
	assert.deepEqual(
		names.map((name) => sample(text, name)),
		[4, 40, 40, 400, 1],
	);
});

test('one process that cannot store is enough for the store not to be up', async () => {
	assert.equal(
		sample(await reportsText([await metricsOf(1).report(), await metricsOf(1, false).report()]), 'relay_storage_up'),
		0,
	);
});

test('the form is that of one process, name for name', async () => {
	const form = (text: string) => text.split('\n').map((line) => (line.startsWith('#') ? line : line.replace(/ [^ ]+$/, '')));
	const metrics = metricsOf(3);
	metrics.route('GET', '/x').answered(200, 0.002);
	metrics.appended(4, true);
	assert.deepEqual(form(await reportsText([await metrics.report(), await metrics.report()])), form(await metrics.text()));
});

test('lags of the event loop are the longest of all, and one without a sample does not hide the others', async () => {
	const lag = (value: number): Report => [
		{
			name: 'nodejs_eventloop_lag_p99_seconds',
			help: 'lag',
			type: 'gauge',
			aggregator: 'average',
			values: [{ labels: {}, value }],
		} satisfies MetricReport,
	];
	const text = await reportsText([lag(0.01), lag(Number.NaN), lag(0.5), lag(0.02)]);
	assert.equal(sample(text, 'nodejs_eventloop_lag_p99_seconds'), 0.5);
});

test('of a process that is gone only what it counted is left, and sums can be summed up again', async () => {
	const metrics = metricsOf(3);
	metrics.received(2, 20);
	metrics.appended(4, true);
	metrics.connectionOpened('sse');
	const past = countersOf(await metrics.report());
	const names = new Set(past.map(({ name }) => name));
	assert(names.has('relay_messages_received_total') && names.has('relay_message_latency_seconds'));
	assert(!names.has('relay_connections') && !names.has('relay_topics'));
	const text = await reportsText([sumReports([past, past]), await metrics.report()]);
	assert.equal(sample(text, 'relay_messages_received_total'), 6);
	assert.equal(sample(text, 'relay_message_latency_seconds_bucket{le="0.005"}'), 3);
	assert.equal(sample(text, 'relay_connections{type="sse"}'), 1);
});
