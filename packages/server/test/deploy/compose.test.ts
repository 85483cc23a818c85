/** The compose file: what it must say, and that it agrees with the files, settings and programs that it names. */

import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { loadConfig } from '../../src/config/load.ts';
import { DEPLOY, readCompose, readText, readYaml, secondsOf } from './files.ts';

const compose = readCompose();
const services = Object.entries(compose.services);

test('the stack is Valkey, the relay, Prometheus and Grafana', () => {
	assert.deepEqual(Object.keys(compose.services).sort(), ['grafana', 'prometheus', 'relay', 'valkey']);
});

describe('every service', () => {
	for (const [name, service] of services) {
		test(`${name} is pinned to a version`, () => {
			assert.match(service.image, /^[a-z][a-z/-]*:v?\d+\.\d+\.\d+$/);
		});

		test(`${name} publishes on loopback only`, () => {
			assert(service.ports !== undefined && service.ports.length > 0);
			for (const port of service.ports) assert.match(port, /^127\.0\.0\.1:\d+:\d+$/);
		});

		test(`${name} has a health check with bounds`, () => {
			const { test: command, interval, timeout, retries, start_period } = service.healthcheck;
			assert(command[0] === 'CMD' || command[0] === 'CMD-SHELL', String(command));
			assert(command.length > 1);
			assert(secondsOf(timeout) <= secondsOf(interval));
			assert(secondsOf(start_period) > 0);
			assert(retries >= 1);
		});

		test(`${name} is started again, without rights that it does not need`, () => {
			assert.equal(service.restart, 'unless-stopped');
			assert.equal(service.read_only, true);
			assert.deepEqual(service.cap_drop, ['ALL']);
		});

		test(`${name} mounts what is there, for reading, and keeps its data in a named volume`, () => {
			for (const volume of service.volumes ?? []) {
				const [source = '', target = '', mode] = volume.split(':');
				assert(target.startsWith('/'), volume);
				if (source.startsWith('.')) {
					assert(existsSync(join(DEPLOY, source)), `${source} does not exist`);
					assert.equal(mode, 'ro', volume);
				} else assert(source in compose.volumes, `${source} is not declared`);
			}
		});

		test(`${name} is given only secrets that are declared, by file`, () => {
			for (const secret of service.secrets ?? []) assert(secret in compose.secrets, `${secret} is not declared`);
			for (const value of Object.values(service.environment ?? {}))
				for (const [, secret] of value.matchAll(/\/run\/secrets\/(\w+)/g))
					assert(service.secrets?.includes(secret ?? ''), `${name} reads ${secret}, which it is not given`);
		});
	}
});

test('every volume and secret is used', () => {
	const volumes = services.flatMap(([, service]) => (service.volumes ?? []).map((volume) => volume.split(':')[0]));
	const secrets = services.flatMap(([, service]) => service.secrets ?? []);
	for (const name of Object.keys(compose.volumes)) assert(volumes.includes(name), name);
	for (const name of Object.keys(compose.secrets)) assert(secrets.includes(name), name);
});

test('secrets are files that neither git nor the image ever holds, and no variable carries one', () => {
	for (const { file } of Object.values(compose.secrets)) assert.match(file, /^\.\/secrets\/\w+$/);
	assert(readText('.gitignore').split('\n').includes('/deploy/secrets/'));
	assert.equal(readText('.dockerignore').match(/^[^#\n].*$/m)?.[0], '*', 'the image gets only what is named');
	for (const [name, service] of services)
		for (const variable of Object.keys(service.environment ?? {}))
			assert(!/(PASSWORD|SECRET|TOKEN)$/.test(variable), `${name}: ${variable} is a secret in a variable`);
});

test('Valkey works, without rights, in the directory of its volume', () => {
	const { user, working_dir, volumes = [] } = compose.services.valkey;
	assert.equal(user, 'valkey');
	assert(volumes.includes(`valkey-data:${working_dir}`));
});

test('what others wait for is declared healthy', () => {
	for (const [, service] of services)
		for (const [name, { condition }] of Object.entries(service.depends_on ?? {})) {
			assert(name in compose.services);
			assert.equal(condition, 'service_healthy');
		}
	assert.deepEqual(Object.keys(compose.services.relay.depends_on ?? {}), ['valkey']);
});

describe("the relay's environment", () => {
	const environment = compose.services.relay.environment ?? {};
	const load = (env: Readonly<Record<string, string>>) =>
		loadConfig({
			argv: [],
			env,
			readFile: (path) => {
				if (path === environment['PULSAR_VALKEY_PASSWORD_FILE']) return 'a-password\n';
				throw Object.assign(new Error('no such file'), { code: 'ENOENT' });
			},
		});
	const loaded = load(environment);

	test('is understood, without a warning', () => {
		assert(loaded.status === 'ok', JSON.stringify(loaded));
		assert.deepEqual(loaded.warnings, []);
	});

	test('reaches Valkey, and is reached, where the stack has them', () => {
		assert(loaded.status === 'ok', JSON.stringify(loaded));
		const { host, port, storageBackend, valkeyHost, valkeyPort } = loaded.config;
		assert.equal(storageBackend, 'valkey');
		assert(valkeyHost in compose.services, valkeyHost);
		assert.deepEqual(compose.services.valkey.ports, [`127.0.0.1:${valkeyPort}:${valkeyPort}`]);
		assert.match(readText('deploy/valkey.conf'), new RegExp(`^port ${valkeyPort}$`, 'm'));
		assert.equal(host, '0.0.0.0');
		assert.deepEqual(compose.services.relay.ports, [`127.0.0.1:${port}:${port}`]);
		const { scrape_configs: jobs } = readYaml<{ scrape_configs: { static_configs: { targets: string[] }[] }[] }>(
			'deploy/prometheus.yml',
		);
		assert.deepEqual(jobs[0]?.static_configs[0]?.targets, [`relay:${port}`]);
	});

	test('says explicitly that nobody is asked for credentials: without that the relay does not start', () => {
		const { PULSAR_AUTH: auth, ...rest } = environment;
		assert.equal(auth, 'open');
		const refused = load(rest);
		assert(refused.status === 'invalid');
		assert(
			refused.problems.some((problem) => problem.includes('PULSAR_AUTH=open if that is meant')),
			String(refused.problems),
		);
	});

	test('leaves time to drain before the container is killed, and descriptors for every connection', () => {
		assert(loaded.status === 'ok', JSON.stringify(loaded));
		const { stop_grace_period: grace = '0s', ulimits } = compose.services.relay;
		// The 5 seconds are those of main.ts.
		assert(secondsOf(grace) >= loaded.config.drainTimeoutS + 5);
		assert((ulimits?.nofile ?? 0) >= loaded.config.maxConnections + loaded.config.maxWaitingPolls);
	});
});

test('the image of the relay has the version of the relay', () => {
	const { version } = JSON.parse(readText('packages/server/package.json')) as { version: string };
	assert.equal(compose.services.relay.image, `pulsar-relay:${version}`);
	const { build } = compose.services.relay;
	assert(build !== undefined);
	assert(existsSync(join(DEPLOY, build.context, build.dockerfile)), `${build.dockerfile} in ${build.context}`);
});

test('Grafana provisions the datasource, the dashboards and its home page from where they are mounted', () => {
	const { volumes = [], environment = {} } = compose.services.grafana;
	const targets = new Map(volumes.map((volume) => volume.split(':') as [string, string]));
	assert.equal(targets.get('./grafana/datasources'), '/etc/grafana/provisioning/datasources');
	assert.match(targets.get('./grafana/dashboards.yml') ?? '', /^\/etc\/grafana\/provisioning\/dashboards\/\w+\.yml$/);
	const provider = readYaml<{ providers: { type: string; options: { path: string } }[] }>('deploy/grafana/dashboards.yml')
		.providers[0];
	assert.equal(provider?.type, 'file');
	assert.equal(provider.options.path, targets.get('./grafana/dashboards'));
	const home = environment['GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH'] ?? '';
	assert(existsSync(home.replace(provider.options.path, join(DEPLOY, 'grafana/dashboards'))), home);

	const { datasources } = readYaml<{ datasources: { url: string; type: string; jsonData: { timeInterval: string } }[] }>(
		'deploy/grafana/datasources/prometheus.yml',
	);
	const [datasource] = datasources;
	assert(datasource !== undefined);
	assert.equal(datasource.type, 'prometheus');
	const { hostname, port } = new URL(datasource.url);
	assert.deepEqual(compose.services[hostname as 'prometheus'].ports, [`127.0.0.1:${port}:${port}`]);
	const { global } = readYaml<{ global: { scrape_interval: string } }>('deploy/prometheus.yml');
	assert.equal(datasource.jsonData.timeInterval, global.scrape_interval);
});

test('Prometheus is given the configuration and the rules where its command and its configuration look for them', () => {
	const { command = [], volumes = [] } = compose.services.prometheus;
	const mounted = new Map(volumes.map((volume) => volume.split(':') as [string, string]));
	const config = command.find((argument) => argument.startsWith('--config.file='))?.split('=')[1] ?? '';
	assert.equal(mounted.get('./prometheus.yml'), config);
	const { rule_files: rules } = readYaml<{ rule_files: string[] }>('deploy/prometheus.yml');
	for (const rule of rules) assert.equal(mounted.get(`./${rule}`), join(config, '..', rule));
	assert.equal(
		mounted.get('prometheus-data'),
		command.find((argument) => argument.startsWith('--storage.tsdb.path='))?.split('=')[1],
	);
});
