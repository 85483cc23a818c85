/** The dashboard's form, as far as it can be checked without Grafana. That its queries return data is shown in queries.test.ts. */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Panel, readDashboard } from './dashboard.ts';
import { readYaml } from './files.ts';

const GRID_COLUMNS = 24;
/** Grafana 8, the first with the panel types used; an older number would be migrated, and change under the operator. */
const SCHEMA_VERSION_MIN = 30;

const dashboard = readDashboard();
const { panels } = dashboard;
const charts = panels.filter(({ type }) => type !== 'row');
const { datasources } = readYaml<{ datasources: { uid: string; type: string }[] }>('deploy/grafana/datasources/prometheus.yml');

test('it has an identity, a current schema, and panels with ids of their own', () => {
	assert.match(dashboard.uid, /^[a-z-]{1,40}$/);
	assert(dashboard.title.length > 0);
	assert(dashboard.schemaVersion >= SCHEMA_VERSION_MIN);
	assert.equal(new Set(panels.map(({ id }) => id)).size, panels.length);
	assert.equal(new Set(charts.map(({ title }) => title)).size, charts.length);
});

test('every panel and every query is of the datasource that is provisioned', () => {
	const [{ uid, type } = { uid: '', type: '' }, ...others] = datasources;
	assert.deepEqual(others, []);
	for (const { title, datasource, targets = [] } of charts) {
		assert.deepEqual(datasource, { type, uid }, title);
		for (const target of targets) assert.deepEqual(target.datasource, { type, uid }, title);
	}
	for (const variable of dashboard.templating.list) assert.equal(variable.datasource.uid, uid);
});

test('every chart has queries, each with an id of its own, and names its lines apart', () => {
	assert(charts.length > 0);
	for (const { title, type, targets = [] } of charts) {
		assert(targets.length > 0, title);
		assert.equal(new Set(targets.map(({ refId }) => refId)).size, targets.length, title);
		for (const { expr, legendFormat } of targets) {
			assert(expr.trim().length > 0, title);
			if (type === 'timeseries') assert(legendFormat !== undefined && legendFormat !== '', title);
		}
		if (type === 'timeseries') assert.equal(new Set(targets.map(({ legendFormat }) => legendFormat)).size, targets.length, title);
	}
});

test('only variables are used that Grafana has or the dashboard declares', () => {
	const known = new Set(['__rate_interval', ...dashboard.templating.list.map(({ name }) => name)]);
	for (const { title, targets = [] } of charts)
		for (const { expr } of targets)
			for (const [, name = ''] of expr.matchAll(/\$(\w+)/g)) assert(known.has(name), `${title}: $${name}`);
});

test('panels lie within the grid, and none on another', () => {
	const overlap = (a: Panel, b: Panel) =>
		a.gridPos.x < b.gridPos.x + b.gridPos.w &&
		b.gridPos.x < a.gridPos.x + a.gridPos.w &&
		a.gridPos.y < b.gridPos.y + b.gridPos.h &&
		b.gridPos.y < a.gridPos.y + a.gridPos.h;
	for (const [i, panel] of panels.entries()) {
		const { x, y, w, h } = panel.gridPos;
		assert(x >= 0 && y >= 0 && w > 0 && h > 0 && x + w <= GRID_COLUMNS, panel.title);
		for (const other of panels.slice(i + 1)) assert(!overlap(panel, other), `${panel.title} lies on ${other.title}`);
	}
});

test('it shows what an operator asks first', () => {
	const titles = charts.map(({ title }) => title);
	for (const title of [
		'Throughput',
		'Connections by transport',
		'Publish to deliver',
		'Lagging subscriptions',
		'Gaps by reason',
		'Store health',
		'Errors by code',
		'Event loop lag',
		'Memory',
		'Stored messages',
		'Stored bytes',
	])
		assert(titles.includes(title), title);
});
