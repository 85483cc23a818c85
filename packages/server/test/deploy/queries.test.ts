/**
 * A real Prometheus watches a live relay on the shipped Valkey with the shipped configuration: every query of the dashboard and of
 * the alerts returns data.
 */

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { type Reader, transports } from '../support/readers.ts';
import { startRelay, type TestRelay } from '../support/relay.ts';
import { untilAnswer, valkeyUnavailable } from '../support/valkey.ts';
import { queriesOf, readDashboard } from './dashboard.ts';
import { readYaml } from './files.ts';
import { missing } from './programs.ts';
import { type Prometheus, startPrometheus } from './prometheus.ts';
import { PASSWORD, type Stack, startStack } from './stack.ts';

const TOPIC = 'observed';
/** Scrapes before the first query: a rate takes two, in a window that the load fills. */
const SCRAPES = 4;
/** In place of Grafana's `$__rate_interval`. */
const WINDOW = '30s';

const { groups } = readYaml<{ groups: { rules: { alert: string; expr: string }[] }[] }>('deploy/alerts.yml');
const rules = groups.flatMap((group) => group.rules);
const dashboard = readDashboard();
const skip = missing(['prometheus'], 'prometheus') || (valkeyUnavailable() ?? false);

/** Publishes on every route, in turns as fast as all readers get what was published, until it is stopped. */
class Load {
	readonly #relay: TestRelay;
	readonly #readers: readonly Reader[];
	#stopping = false;
	readonly #done: Promise<void>;

	constructor(relay: TestRelay, readers: readonly Reader[]) {
		this.#relay = relay;
		this.#readers = readers;
		this.#done = this.#run();
	}

	async #run(): Promise<void> {
		for (let published = 0; !this.#stopping; ) {
			await this.#relay.publish(TOPIC, '{"n":1}', { metadata: { trace: 'a' } });
			const bulk = { messages: [2, 3].map((payload) => ({ topic: TOPIC, payload })) };
			assert.equal((await this.#relay.request('POST', '/api/v1/messages/bulk', bulk)).status, 207);
			await this.#relay.publishMany(TOPIC, ['4', '5']);
			assert.equal((await this.#relay.request('GET', '/api/v1/topics/absent')).status, 404);
			published += 5;
			await Promise.all(this.#readers.map((reader) => reader.until((received) => received.length === published)));
		}
	}

	async stop(): Promise<void> {
		this.#stopping = true;
		await this.#done;
	}
}

describe('a live relay, watched', { skip, timeout: 120_000 }, () => {
	let stack: Stack;
	let relay: TestRelay;
	let readers: Reader[];
	let load: Load;
	let prometheus: Prometheus;

	before(async () => {
		stack = await startStack();
		const { PULSAR_VALKEY_PASSWORD_FILE: _, ...env } = stack.relayEnv;
		relay = await startRelay({ ...env, PULSAR_VALKEY_PASSWORD: PASSWORD });
		readers = await Promise.all(transports.map((transport) => transport.open(relay.url, [TOPIC], 'last')));
		load = new Load(relay, readers);
		prometheus = await startPrometheus(relay.url);
		await untilAnswer(async () => {
			const [scrapes] = await prometheus.query('count_over_time(relay_messages_received_total{job="relay"}[1m])');
			return (scrapes?.value ?? 0) >= SCRAPES;
		}, `scraped ${SCRAPES} times`);
	});

	after(async () => {
		await load?.stop();
		await Promise.all((readers ?? []).map((reader) => reader.close()));
		await prometheus?.stop();
		await relay?.close();
		await stack?.stop();
	});

	for (const { title, expr } of queriesOf(dashboard)) {
		test(`"${title}" has data: ${expr}`, async () => {
			const all = dashboard.templating.list.find(({ name }) => name === 'instance')?.allValue ?? '';
			const samples = await prometheus.query(expr.replaceAll('$instance', all).replaceAll('$__rate_interval', WINDOW));
			assert(samples.length > 0, 'no series');
			assert(
				samples.some(({ value }) => Number.isFinite(value)),
				JSON.stringify(samples),
			);
		});
	}

	for (const { alert, expr } of rules) {
		test(`the alert ${alert} looks at data`, async () => {
			const [, inner, threshold] = /^(.*\S)\s*(?:==|>|<)\s*([\d.]+)$/.exec(expr) ?? assert.fail(`${expr} compares nothing`);
			assert(inner !== undefined && threshold !== undefined);
			const samples = await prometheus.query(inner);
			assert(samples.length > 0, 'no series');
			assert(
				samples.some(({ value }) => Number.isFinite(value)),
				JSON.stringify(samples),
			);
		});
	}

	test('every rule is evaluated without an error, and none fires on a healthy relay', async () => {
		type Groups = { groups: { rules: { name: string; health: string; state: string; lastError?: string }[] }[] };
		const evaluated = (await prometheus.ask<Groups>('rules')).groups.flatMap((group) => group.rules);
		assert.deepEqual(
			evaluated.map(({ name, health, lastError }) => ({ name, health, lastError })),
			rules.map(({ alert }) => ({ name: alert, health: 'ok', lastError: undefined })),
		);
		// One that is merely pending may be the machine's doing: the tests have it busy.
		for (const { name, state } of evaluated) assert.notEqual(state, 'firing', name);
	});

	test('the numbers are those of the load: all transports open, served and counted', async () => {
		const byLabel = async (expression: string, label: string) =>
			Object.fromEntries((await prometheus.query(expression)).map(({ metric, value }) => [metric[label], value]));
		const open = await byLabel('sum by (type) (relay_connections)', 'type');
		// A poll is waiting or on its way: now and then none is counted.
		assert.deepEqual([open['websocket'], open['sse']], [1, 1]);
		const sent = await byLabel(`sum by (delivery_type) (rate(relay_messages_delivered_total[${WINDOW}]))`, 'delivery_type');
		for (const type of ['websocket', 'sse', 'longpoll']) assert((sent[type] ?? 0) > 0, JSON.stringify(sent));
		const [received] = await prometheus.query(`sum(rate(relay_messages_received_total[${WINDOW}]))`);
		assert((received?.value ?? 0) > 0);
		const errors = await byLabel('relay_errors_total', 'code');
		assert((errors['not_found'] ?? 0) > 0, JSON.stringify(errors));
	});

	test("the dashboard's choice of nodes offers the relay", async () => {
		const [variable] = dashboard.templating.list;
		const [, series = ''] = /^label_values\((.*), instance\)$/.exec(variable?.query.query ?? '') ?? [];
		const nodes = await prometheus.ask<string[]>(`label/instance/values?${new URLSearchParams({ 'match[]': series })}`);
		assert.deepEqual(nodes, [new URL(relay.url).host]);
	});
});
