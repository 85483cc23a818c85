/** The metrics: what is counted is what a scrape shows, under the documented names. */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createMetrics, type Metrics } from '../../../src/ops/metrics.ts';
import type { StoreHealth } from '../../../src/ports/store.ts';

let health: StoreHealth = { status: 'ok', durability: 'disk' };
const store = { stats: () => ({ topics: 3, messages: 40, bytes: 500 }), health: () => health };
const create = () => createMetrics({ store, process: false });

/** The samples of a scrape by their names with labels. */
async function scrape(metrics: Metrics): Promise<ReadonlyMap<string, number>> {
	const lines = (await metrics.text()).split('\n').filter((line) => line !== '' && !line.startsWith('#'));
	return new Map(
		lines.map((line) => {
			const space = line.lastIndexOf(' ');
			return [line.slice(0, space), Number(line.slice(space + 1))] as const;
		}),
	);
}

test('all documented names are there before anything happened', async () => {
	const names = new Set([...(await scrape(create())).keys()].map((name) => name.replace(/\{.*|_(bucket|sum|count)(?=\{|$)/, '')));
	const expected = [
		'relay_messages_received_total',
		'relay_message_latency_seconds',
		'relay_messages_delivered_total',
		'relay_delivery_delay_seconds',
		'relay_gaps_total',
		'relay_topics',
		'relay_stored_messages',
		'relay_hot_tier_bytes',
		'relay_publish_queue_bytes',
		'relay_connections',
		'relay_websocket_connections_active',
		'relay_websocket_connections_total',
		'relay_websocket_disconnections_total',
		'relay_subscriptions_behind',
		'relay_errors_total',
		'relay_storage_up',
		'relay_storage_durability',
		'relay_storage_operations_total',
	];
	for (const name of expected) assert(names.has(name), name);
});

test('an outage of the store is logged when it begins and when it is over, and a topic too many is none', () => {
	const lines: string[] = [];
	const log = (level: string) => (_: unknown, text?: string) => lines.push(`${level}: ${text ?? String(_)}`);
	const metrics = createMetrics({
		store,
		process: false,
		logger: { info: log('info'), warn: log('warn'), error: log('error') },
	});
	metrics.appended(1, false);
	health = { status: 'unavailable', reason: 'disk is full' };
	for (let i = 0; i < 3; i++) metrics.appended(1, false);
	health = { status: 'ok', durability: 'disk' };
	for (let i = 0; i < 3; i++) metrics.appended(1, true);
	assert.deepEqual(lines, ['error: the store refuses appends', 'info: the store appends again']);
});

test('messages, deliveries, gaps and store calls are counted', async () => {
	const metrics = create();
	metrics.received(3, 300);
	metrics.received(1, 50);
	metrics.appended(4, true);
	metrics.appended(2000, false);
	metrics.read(true);
	metrics.read(false);
	metrics.delivered('websocket', 7);
	metrics.delivered('sse', 2);
	metrics.deliveryDelay(3);
	metrics.gap('trimmed');
	metrics.behind(1);
	metrics.behind(1);
	metrics.behind(-1);
	metrics.housekeepingFailed(new Error('full'));
	const samples = await scrape(metrics);
	const expected: Readonly<Record<string, number>> = {
		relay_messages_received_total: 4,
		relay_message_bytes_received_total: 350,
		'relay_message_latency_seconds_bucket{le="0.001"}': 0,
		'relay_message_latency_seconds_bucket{le="0.005"}': 1,
		'relay_message_latency_seconds_bucket{le="2.5"}': 2,
		'relay_message_latency_seconds_bucket{le="+Inf"}': 2,
		relay_message_latency_seconds_sum: 2.004,
		relay_message_latency_seconds_count: 2,
		'relay_messages_delivered_total{delivery_type="websocket"}': 7,
		'relay_messages_delivered_total{delivery_type="sse"}': 2,
		'relay_messages_delivered_total{delivery_type="longpoll"}': 0,
		relay_delivery_delay_seconds_sum: 0.003,
		'relay_gaps_total{reason="trimmed"}': 1,
		'relay_gaps_total{reason="ahead"}': 0,
		relay_subscriptions_behind: 1,
		'relay_storage_operations_total{operation="append",status="ok"}': 1,
		'relay_storage_operations_total{operation="append",status="error"}': 1,
		'relay_storage_operations_total{operation="read",status="error"}': 1,
		'relay_storage_operations_total{operation="housekeeping",status="error"}': 1,
		relay_topics: 3,
		relay_stored_messages: 40,
		relay_topic_message_count: 40,
		relay_stored_bytes: 500,
	};
	for (const [name, value] of Object.entries(expected)) assert.equal(samples.get(name), value, name);
});

test('connections are counted per transport, those of WebSocket also under their old names', async () => {
	const metrics = create();
	for (let i = 0; i < 3; i++) metrics.connectionOpened('websocket');
	metrics.connectionClosed('websocket');
	metrics.connectionOpened('sse');
	metrics.connectionOpened('longpoll');
	metrics.connectionClosed('longpoll');
	const samples = await scrape(metrics);
	assert.equal(samples.get('relay_connections{type="websocket"}'), 2);
	assert.equal(samples.get('relay_connections{type="sse"}'), 1);
	assert.equal(samples.get('relay_connections{type="longpoll"}'), 0);
	assert.equal(samples.get('relay_websocket_connections_active'), 2);
	assert.equal(samples.get('relay_websocket_connections_total'), 3);
	assert.equal(samples.get('relay_websocket_disconnections_total'), 1);
});

test('failures are counted by wire and code', async () => {
	const metrics = create();
	metrics.errorAnswered('http', 'not_found');
	metrics.errorAnswered('http', 'not_found');
	metrics.errorAnswered('websocket', 'unknown_frame');
	const samples = await scrape(metrics);
	assert.equal(samples.get('relay_errors_total{type="http",code="not_found"}'), 2);
	assert.equal(samples.get('relay_errors_total{type="websocket",code="unknown_frame"}'), 1);
});

test('failures of the relay itself are there at zero before the first, those of clients are not', async () => {
	const samples = await scrape(create());
	for (const type of ['http', 'websocket'])
		for (const code of ['internal_error', 'storage_unavailable', 'overloaded'])
			assert.equal(samples.get(`relay_errors_total{type="${type}",code="${code}"}`), 0);
	assert.equal(samples.has('relay_errors_total{type="http",code="not_found"}'), false);
	const metrics = create();
	metrics.errorAnswered('http', 'internal_error');
	assert.equal((await scrape(metrics)).get('relay_errors_total{type="http",code="internal_error"}'), 1);
});

test('the durability in force is 1 and the others are 0; while the store is unavailable none is in force', async () => {
	const metrics = create();
	const levels = async () => {
		const samples = await scrape(metrics);
		return ['memory', 'everysec', 'process', 'disk'].map((level) => samples.get(`relay_storage_durability{level="${level}"}`));
	};
	assert.deepEqual(await levels(), [0, 0, 0, 1]);
	health = { status: 'unavailable', reason: 'gone' };
	const duringOutage = await levels();
	health = { status: 'ok', durability: 'disk' };
	assert.deepEqual(duringOutage, [0, 0, 0, 0]);
});

test('the load and the health of the store are those at the time of the scrape', async () => {
	const metrics = create();
	let hotBytes = 1;
	metrics.observeLoad(() => ({ hotBytes, queuedBytes: 9 }));
	assert.equal((await scrape(metrics)).get('relay_hot_tier_bytes'), 1);
	hotBytes = 2;
	health = { status: 'unavailable', reason: 'gone' };
	const samples = await scrape(metrics);
	health = { status: 'ok', durability: 'disk' };
	assert.equal(samples.get('relay_hot_tier_bytes'), 2);
	assert.equal(samples.get('relay_publish_queue_bytes'), 9);
	assert.equal(samples.get('relay_storage_up'), 0);
	assert.equal((await scrape(metrics)).get('relay_storage_up'), 1);
});

test('requests are counted per route and class of status, with their durations', async () => {
	const metrics = create();
	const route = metrics.route('GET', '/api/v1/topics/:topic_name');
	route.answered(200, 0.002);
	route.answered(404, 0.02);
	route.answered(404, 70);
	const samples = await scrape(metrics);
	const labels = 'method="GET",status="4xx",handler="/api/v1/topics/:topic_name"';
	assert.equal(samples.get(`http_requests_total{${labels}}`), 2);
	const duration = (le: string) =>
		samples.get(`http_request_duration_seconds_bucket{method="GET",handler="/api/v1/topics/:topic_name",le="${le}"}`);
	assert.deepEqual([duration('0.001'), duration('0.005'), duration('0.025'), duration('60'), duration('+Inf')], [0, 1, 2, 2, 3]);
});

test('each relay has its own, and those of the process come on top', async () => {
	const [one, two] = [createMetrics({ store }), create()];
	one.received(1, 1);
	assert.equal((await scrape(two)).get('relay_messages_received_total'), 0);
	const names = [...(await scrape(one)).keys()];
	for (const name of [
		'process_cpu_seconds_total',
		'process_resident_memory_bytes',
		'nodejs_eventloop_lag_p99_seconds',
		'nodejs_heap_size_used_bytes',
	]) {
		assert(
			names.some((sample) => sample.startsWith(name)),
			name,
		);
	}
});

test('a failed step of the background work is told', () => {
	const told: unknown[] = [];
	const metrics = createMetrics({
		store,
		process: false,
		logger: { info: () => {}, error: () => {}, warn: (...line: unknown[]) => void told.push(line) },
	});
	metrics.housekeepingFailed(new Error('the disk is full'));
	assert.match(
		JSON.stringify(told, (_key, value: unknown) => (value instanceof Error ? value.message : value)),
		/the disk is full/,
	);
});
