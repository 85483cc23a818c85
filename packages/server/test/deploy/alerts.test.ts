/**
 * The alerts: each fires, with its words filled in, in the situation that it is for, alone, and not in the ordinary one next to it. Decided
 * by promtool, which evaluates the shipped rules over made-up series.
 */

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { stringify } from 'yaml';
import { DEPLOY, readText, readYaml } from './files.ts';
import { missing } from './programs.ts';

interface Rule {
	readonly alert: string;
	readonly expr: string;
	readonly labels: Readonly<Record<string, string>>;
	readonly annotations: Readonly<Record<string, string>>;
}

/** Values of series at each step, in promtool's notation: `0+1x30` is 0, 1, 2 … 30. */
type Series = Readonly<Record<string, string>>;

interface Situation {
	/** Time between two values. */
	readonly step: '10s' | '1m';
	readonly at: string;
	readonly fires: Series;
	readonly calm: Series;
	/** `$value` as it is shown. */
	readonly value?: string;
	/** Labels of the alert beside those of the rule and the instance. */
	readonly labels?: Readonly<Record<string, string>>;
}

const INSTANCE = 'relay:8080';
const ofJob = { job: 'relay' };
const storeCalls = (operation: string) => ({
	labels: { ...ofJob, operation, status: 'error' },
	fires: { [`relay_storage_operations_total{operation="${operation}",status="error"}`]: '0+1x60' },
	calm: { [`relay_storage_operations_total{operation="${operation}",status="error"}`]: '7x60' },
});
const histogram = (name: string, below: string, above: string) => (counts: readonly [string, string]) => ({
	[`${name}_bucket{le="${below}"}`]: counts[0],
	[`${name}_bucket{le="${above}"}`]: counts[1],
	[`${name}_bucket{le="+Inf"}`]: counts[1],
});
const appends = histogram('relay_message_latency_seconds', '0.5', '1');
const delays = histogram('relay_delivery_delay_seconds', '0.25', '0.5');
const allAbove = ['0x60', '0+10x60'] as const;
const allBelow = ['0+10x60', '0+10x60'] as const;

const SITUATIONS: Readonly<Record<string, Situation>> = {
	RelayDown: { step: '10s', at: '2m', labels: ofJob, fires: { up: '1 0x20' }, calm: { up: '1 0 0 1x20' } },
	RelayRestarting: {
		step: '1m',
		at: '10m',
		labels: ofJob,
		value: '3',
		fires: { process_start_time_seconds: '100 100 200 200 300 400x20' },
		calm: { process_start_time_seconds: '100 100 200 200 300x20' },
	},
	StoreDown: {
		step: '10s',
		at: '1m',
		labels: ofJob,
		fires: { relay_storage_up: '0x20' },
		calm: { relay_storage_up: '1 0 1 1 0 1x20' },
	},
	NotPersisting: {
		step: '10s',
		at: '2m',
		labels: { ...ofJob, level: 'memory' },
		fires: { 'relay_storage_durability{level="memory"}': '1x20' },
		calm: { 'relay_storage_durability{level="memory"}': '0x20', 'relay_storage_durability{level="process"}': '1x20' },
	},
	AppendsFail: { step: '10s', at: '5m', ...storeCalls('append') },
	ReadsFail: { step: '10s', at: '5m', ...storeCalls('read') },
	HousekeepingFails: { step: '1m', at: '40m', ...storeCalls('housekeeping') },
	AppendsSlow: { step: '10s', at: '8m', value: '995ms', fires: appends(allAbove), calm: appends(allBelow) },
	PublishQueueGrows: {
		step: '10s',
		at: '2m',
		labels: ofJob,
		value: '128Mi',
		fires: { relay_publish_queue_bytes: `${128 * 1024 * 1024}x20` },
		calm: { relay_publish_queue_bytes: `${64 * 1024 * 1024}x20` },
	},
	DeliverySlow: { step: '10s', at: '8m', value: '487.5ms', fires: delays(allAbove), calm: delays(allBelow) },
	SubscriptionsLag: {
		step: '1m',
		at: '15m',
		labels: ofJob,
		value: '25',
		fires: { relay_subscriptions_behind: '25x20' },
		// Many at once after a restart, all caught up a minute later.
		calm: { relay_subscriptions_behind: '900x5 0 900x20' },
	},
	SubscribersMissMessages: {
		step: '1m',
		at: '5m',
		fires: { 'relay_gaps_total{reason="trimmed"}': '0 0 1x20' },
		calm: { 'relay_gaps_total{reason="trimmed"}': '5x20', 'relay_gaps_total{reason="deleted"}': '0+1x20' },
	},
	StoreLostMessages: {
		step: '1m',
		at: '5m',
		fires: { 'relay_gaps_total{reason="ahead"}': '0 0 1x20' },
		calm: { 'relay_gaps_total{reason="ahead"}': '5x20', 'relay_gaps_total{reason="unknown"}': '0+1x20' },
	},
	InternalErrors: {
		step: '1m',
		at: '5m',
		fires: { 'relay_errors_total{type="http",code="internal_error"}': '0 0 1x20' },
		calm: { 'relay_errors_total{type="http",code="not_found"}': '0+1x20' },
	},
	EventLoopSlow: {
		step: '10s',
		at: '6m',
		labels: ofJob,
		value: '250ms',
		fires: { nodejs_eventloop_lag_p99_seconds: '0.25x60' },
		calm: { nodejs_eventloop_lag_p99_seconds: '0.02x20 0.25 0.02x60' },
	},
	FileDescriptorsRunOut: {
		step: '10s',
		at: '6m',
		labels: ofJob,
		value: '90%',
		fires: { process_open_fds: '90x60', process_max_fds: '100x60' },
		calm: { process_open_fds: '70x60', process_max_fds: '100x60' },
	},
};

const { groups } = readYaml<{ groups: { rules: Rule[] }[] }>('deploy/alerts.yml');
const rules = groups.flatMap((group) => group.rules);
const skip = missing(['promtool'], 'prometheus');

/** Adds the labels that every series of the relay has. */
function inputSeries(series: Series): { series: string; values: string }[] {
	return Object.entries(series).map(([name, values]) => {
		const [, metric, labels = ''] = /^(\w+)(?:\{(.*)\})?$/.exec(name) ?? assert.fail(name);
		return { series: `${metric}{job="relay",instance="${INSTANCE}"${labels === '' ? '' : `,${labels}`}}`, values };
	});
}

function rendered(text: string, value: string): string {
	return text.replaceAll('{{ $labels.instance }}', INSTANCE).replaceAll(/\{\{ \$value( \| \w+)? \}\}/g, value);
}

function expectation({ labels, annotations }: Rule, { labels: more = {}, value = '' }: Situation) {
	return {
		exp_labels: { instance: INSTANCE, ...labels, ...more },
		exp_annotations: Object.fromEntries(Object.entries(annotations).map(([name, text]) => [name, rendered(text, value)])),
	};
}

/** Runs promtool over rule tests; throws with what it printed. */
function testRules(tests: readonly unknown[]): void {
	const directory = mkdtempSync(join(tmpdir(), 'pulsar-alerts-'));
	try {
		const file = join(directory, 'alerts.yml');
		writeFileSync(file, stringify({ rule_files: [join(DEPLOY, 'alerts.yml')], evaluation_interval: '10s', tests }));
		execFileSync('promtool', ['test', 'rules', file], { stdio: ['ignore', 'pipe', 'pipe'], encoding: 'utf8' });
	} catch (error) {
		const { stdout = '', stderr = '' } = error as { stdout?: string; stderr?: string };
		assert.fail(`${stdout}${stderr}`);
	} finally {
		rmSync(directory, { recursive: true });
	}
}

test('Prometheus accepts the configuration and the rules as they are shipped', { skip }, () => {
	const print = (...args: string[]) => execFileSync('promtool', args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });
	assert.match(print('check', 'config', join(DEPLOY, 'prometheus.yml')), /alerts\.yml\n\s+SUCCESS/);
	assert.match(print('check', 'rules', join(DEPLOY, 'alerts.yml')), new RegExp(`SUCCESS: ${rules.length} rules found`));
});

test('there is a situation for every alert', () => {
	assert.deepEqual(Object.keys(SITUATIONS).sort(), rules.map(({ alert }) => alert).sort());
});

test('every alert says how bad it is, and points only to headings of the documentation that are there', () => {
	const headings = [...readText('docs/operations.md').matchAll(/^#+ (.+)$/gm)].map(([, heading]) => heading);
	for (const { alert, labels, annotations } of rules) {
		assert(['critical', 'warning'].includes(labels['severity'] ?? ''), alert);
		assert.deepEqual(Object.keys(annotations), ['summary', 'description'], alert);
		for (const [, heading] of Object.values(annotations)
			.join('\n')
			.matchAll(/see "([^"]+)" in docs\/operations\.md/gi))
			assert(headings.includes(heading ?? ''), `${alert} points to "${heading}"`);
	}
});

describe('each alert', () => {
	for (const rule of rules) {
		const situation = SITUATIONS[rule.alert] ?? assert.fail(rule.alert);
		const { step, at, fires, calm } = situation;

		test(`${rule.alert} fires when it should, and no other does`, { skip }, () => {
			const others = rules.filter(({ alert }) => alert !== rule.alert);
			testRules([
				{
					interval: step,
					input_series: inputSeries(fires),
					alert_rule_test: [
						{ eval_time: at, alertname: rule.alert, exp_alerts: [expectation(rule, situation)] },
						...others.map(({ alert }) => ({ eval_time: at, alertname: alert, exp_alerts: [] })),
					],
				},
			]);
		});

		test(`${rule.alert} does not fire otherwise`, { skip }, () => {
			testRules([
				{
					interval: step,
					input_series: inputSeries(calm),
					alert_rule_test: [{ eval_time: at, alertname: rule.alert, exp_alerts: [] }],
				},
			]);
		});
	}
});
