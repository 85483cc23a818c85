/** Loading the settings: where they come from, which source wins, and what is said about wrong ones. */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { loadConfig } from '../../../src/config/load.ts';
import type { Config } from '../../../src/config/schema.ts';

interface Given {
	argv?: readonly string[];
	env?: Record<string, string | undefined>;
	files?: Record<string, string>;
}

function load({ argv = [], env = {}, files = {} }: Given) {
	const readFile = (path: string) => {
		const text = files[path];
		if (text === undefined) throw Object.assign(new Error(`ENOENT: ${path}`), { code: 'ENOENT' });
		return text;
	};
	return loadConfig({ argv, env, readFile });
}

function loaded(given: Given): { config: Config; warnings: readonly string[] } {
	const result = load(given);
	assert.equal(result.status, 'ok', JSON.stringify(result));
	return result.status === 'ok' ? result : assert.fail();
}

function problems(given: Given): readonly string[] {
	const result = load(given);
	return result.status === 'invalid' ? result.problems : assert.fail(`it loaded: ${JSON.stringify(result)}`);
}

test('without anything said, every setting has its default', () => {
	assert.deepEqual(loaded({}), {
		status: 'ok',
		task: { kind: 'serve' },
		warnings: [],
		config: {
			host: '127.0.0.1',
			port: 8080,
			workers: 1,
			tlsCert: null,
			tlsKey: null,
			tlsClientCa: null,
			auth: 'open',
			appName: 'Pulsar Relay',
			jwtSecretKey: null,
			jwtSecretKeyFile: null,
			accessTokenExpireMinutes: 10,
			refreshTokenTtlDays: 90,
			refreshGraceS: 30,
			bootstrapAdminUsername: null,
			bootstrapAdminPassword: null,
			bootstrapAdminPasswordFile: null,
			bootstrapAdminEmail: null,
			allowedOrigins: [],
			trustedHosts: [],
			allowInsecureDefaults: false,
			oidcEnabled: false,
			oidcBaseUrl: null,
			oidcDefaultPermissions: ['read', 'write'],
			oidcStateTtlS: 600,
			deviceCodeTtlS: 600,
			deviceCodePollIntervalS: 5,
			tokenIssuer: null,
			tokenAudience: null,
			tokenJwksUri: null,
			tokenClaimUsername: null,
			oidcProviders: [],
			storageBackend: 'embedded',
			dataDir: './data',
			durability: 'any',
			persistentTierRetentionS: 86_400,
			maxMessagesPerTopic: 1_000_000,
			maxTopics: 100_000,
			valkeyHost: '127.0.0.1',
			valkeyPort: 6379,
			valkeyAddresses: [],
			valkeyCluster: false,
			valkeyUseTls: false,
			valkeyCaPath: null,
			valkeyTlsCert: null,
			valkeyTlsKey: null,
			valkeyUsername: null,
			valkeyPassword: null,
			valkeyPasswordFile: null,
			valkeyKeyPrefix: null,
			valkeyStartTimeoutS: 60,
			valkeyAllowEviction: false,
			valkeyAssumeDurability: 'unknown',
			importSource: null,
			importSourceFile: null,
			hotTierRetentionS: 600,
			hotTierMaxBytes: 268_435_456,
			hotTierMaxMessagesPerTopic: 100_000,
			maxBodyBytes: 33_554_432,
			maxPayloadDepth: 256,
			maxPublishQueueBytes: 268_435_456,
			maxReceivingBytes: 256 * 1024 * 1024,
			idempotencyWindowS: 86_400,
			idempotencyMaxKeys: 10_000_000,
			maxConnections: 20_000,
			maxSubscriptionsPerConnection: 1000,
			maxWaitingPolls: 10_000,
			socketBufferBytes: 262_144,
			wsMaxMessageBytes: 16_777_216,
			rateLimitPrincipal: 600_000,
			rateLimitAddress: 1200,
			rateLimitLogin: 5,
			rateLimitRefresh: 10,
			rateLimitDevice: 10,
			wsMaxPerUser: 5000,
			maxPollsPerUser: 2000,
			maxSubscriptionsPerUser: 100_000,
			maxTopicsPerUser: 10_000,
			maxPerUserBytes: 107_374_182_400,
			trustedProxies: [],
			wsPingIntervalS: 25,
			sseHeartbeatIntervalS: 15,
			keepAliveTimeoutS: 75,
			bodyTimeoutS: 60,
			drainTimeoutS: 10,
			metricsToken: null,
			metricsTokenFile: null,
			metricsAddress: null,
			logLevel: 'info',
			logFormat: 'auto',
		},
	});
});

test('the settings cannot be changed after loading', () => {
	const { config } = loaded({});
	assert.throws(() => Object.assign(config, { port: 1 }), TypeError);
});

test('a flag wins over the environment, the environment over the file, the file over the default', () => {
	const files = { 'config.toml': 'port = 1\nmax_topics = 2\nmax_connections = 3\n' };
	const env = { PULSAR_PORT: '10', PULSAR_MAX_TOPICS: '20' };
	const { config } = loaded({ argv: ['--port', '100'], env, files });
	assert.deepEqual([config.port, config.maxTopics, config.maxConnections, config.maxWaitingPolls], [100, 20, 3, 10_000]);
});

test('a wrong value that a stronger source overrides is no problem', () => {
	const given = { argv: ['--port', '1'], env: { PULSAR_PORT: 'http', PULSAR_STORAGE_BACKEND: 'memory' } };
	const { config } = loaded({ ...given, files: { 'config.yaml': 'storage_backend: valkey\nport: [1]\n' } });
	assert.deepEqual([config.port, config.storageBackend], [1, 'memory']);
});

test('flags take their value after a blank or after an equals sign; the last of two counts', () => {
	const { config } = loaded({ argv: ['--port=1', '--host', 'localhost', '--data-dir=a=b', '--port', '2'] });
	assert.deepEqual([config.port, config.host, config.dataDir], [2, 'localhost', 'a=b']);
});

test('names in the environment count in any case, and the upper-case one of two wins', () => {
	assert.equal(loaded({ env: { pulsar_port: '1' } }).config.port, 1);
	assert.equal(loaded({ env: { PULSAR_PORT: '2', pulsar_port: '1' } }).config.port, 2);
	assert.equal(loaded({ env: { pulsar_port: '1', PULSAR_PORT: '2' } }).config.port, 2);
});

test('a variable without a value counts as not set', () => {
	const env = { PULSAR_PORT: '', PULSAR_APP_NAME: ' ', PULSAR_CONFIG_FILE: '', PULSAR_HOST: undefined, PULSAR_NO_SUCH: '' };
	assert.deepEqual(loaded({ env }), loaded({}));
});

test('the variable that names the file is no unknown setting', () => {
	const { config, warnings } = loaded({ env: { PULSAR_CONFIG_FILE: 'a.toml' }, files: { 'a.toml': 'port = 1' } });
	assert.deepEqual([config.port, warnings], [1, []]);
});

test('words are understood in any mix of upper and lower case', () => {
	const { config } = loaded({ env: { PULSAR_LOG_LEVEL: 'WARNING', PULSAR_STORAGE_BACKEND: 'Memory' } });
	assert.deepEqual([config.logLevel, config.storageBackend], ['warning', 'memory']);
});

test('the level of the log is also understood in the words of Node programs', () => {
	assert.equal(loaded({ env: { PULSAR_LOG_LEVEL: 'warn' } }).config.logLevel, 'warning');
	assert.equal(loaded({ argv: ['--log-level', 'TRACE'] }).config.logLevel, 'debug');
});

test('every wrong setting is listed at once, each under the name it was given by', () => {
	const argv = ['--prot', '8', 'serve', '--port=-1', '--ws-ping-interval', '--log-level=loud', '--host='];
	const env = {
		PULSAR_AUTH: 'closed',
		pulsar_storage_backend: 'disk',
		PULSAR_MAX_BODY_BYTES: '1023',
		PULSAR_KEEP_ALIVE_TIMEOUT: '65',
		PULSAR_BODY_TIMEOUT: '1e3',
		PULSAR_HOT_TIER_RETENTION: '99999999999999999999',
	};
	const files = { 'config.yaml': 'max_topics: 1.5\napp_name: 1.10\ndrain_timeout: {a: 1}\nlog_format: yes\ndata_dir: ""\n' };
	assert.deepEqual([...problems({ argv, env, files })].sort(), [
		'"serve": only flags are understood, and the command import before them',
		'--host: needs a value',
		'--log-level: "loud" is not one of debug, info, warning, error, critical',
		'--port: "-1" is not a whole number from 0 to 65535',
		'--prot: there is no such flag',
		'--ws-ping-interval: needs a value',
		'PULSAR_AUTH: "closed" is not one of open, required',
		'PULSAR_BODY_TIMEOUT: "1e3" is not a whole number from 1 to 3600',
		'PULSAR_HOT_TIER_RETENTION: "99999999999999999999" is not a whole number from 1 to 2592000',
		'PULSAR_KEEP_ALIVE_TIMEOUT: "65" is not a whole number from 66 to 3600',
		'PULSAR_MAX_BODY_BYTES: "1023" is not a whole number from 1024 to 268435456',
		'PULSAR_STORAGE_BACKEND: "disk" is not one of embedded, valkey, memory',
		'app_name in config.yaml: 1.1 is not text; put it in quotes',
		'data_dir in config.yaml: is empty',
		'drain_timeout in config.yaml: a table is not a whole number from 0 to 3600',
		'log_format in config.yaml: "yes" is not one of auto, json, pretty',
		'max_topics in config.yaml: 1.5 is not a whole number from 1 to 10000000',
	]);
});

test('a flag whose value was forgotten does not swallow the next flag', () => {
	assert.deepEqual(problems({ argv: ['--data-dir', '--port', '1'] }), ['--data-dir: needs a value']);
	assert.equal(load({ argv: ['--data-dir', '-h'] }).status, 'help');
});

test('variables and keys that this version does not know are warnings', () => {
	const env = { PULSAR_RATE_LIMIT_STORAGE_URI: 'redis://:hunter2@x', PULSAR_OIDC__NEW: '1', OTHER: '1' };
	const files = { 'config.yaml': 'PORT: 1\noidc:\n  newer: true\nother:\n  a: 1\n__proto__: {port: 2}\nport: 3\n' };
	const { config, warnings } = loaded({ env, files });
	assert.deepEqual(warnings, [
		'PULSAR_RATE_LIMIT_STORAGE_URI is set, but this version has no such setting; nodes that share a Valkey share what they must count',
		'PULSAR_OIDC__NEW is set, but this version has no such setting; it is ignored',
		'PORT in config.yaml: this version has no such setting; it is ignored',
		'oidc__newer in config.yaml: this version has no such setting; it is ignored',
		'other in config.yaml: this version has no such setting; it is ignored',
		'__proto__ in config.yaml: this version has no such setting; it is ignored',
	]);
	assert.equal(config.port, 3);
});

test('the version is asked for with --version, the help with --help, whatever else is wrong', () => {
	assert.deepEqual(load({ argv: ['--nonsense', '--version'] }), { status: 'version' });
	assert.deepEqual(load({ argv: ['-v'], env: { PULSAR_PORT: 'x' } }), { status: 'version' });
	assert.equal(load({ argv: ['-v', '--help', '--port'] }).status, 'help');
	assert.equal(load({ argv: ['--help', '-v'] }).status, 'help');
});

for (const host of ['127.0.0.1', '127.255.0.1', 'localhost', 'LocalHost', '::1', '[::1]', '::ffff:127.0.0.1']) {
	test(`open mode is the default on ${host}, which only this machine reaches`, () => {
		assert.equal(loaded({ argv: ['--host', host] }).config.auth, 'open');
	});
}

for (const host of [
	'0.0.0.0',
	'::',
	'192.168.1.4',
	'127.0.0.1.example.org',
	'127.0.0.256',
	'127.1',
	'[::',
	'relay.example.org',
	'0',
]) {
	test(`open mode on ${host} must be said explicitly`, () => {
		const [problem, ...others] = problems({ argv: ['--host', host] });
		assert.match(problem ?? '', /^PULSAR_HOST: .* is not a loopback address.*PULSAR_AUTH=open/);
		assert.deepEqual(others, []);
		for (const said of [
			{ argv: ['--host', host, '--auth', 'open'] },
			{ argv: ['--host', host], env: { PULSAR_AUTH: 'OPEN' } },
			{ argv: ['--host', host], files: { 'config.toml': 'auth = "open"' } },
		]) {
			assert.equal(loaded(said).config.host, host);
		}
	});
}

test('an IPv6 address may stand in brackets, as in a URL', () => {
	assert.equal(loaded({ argv: ['--host=[::1]'] }).config.host, '::1');
	assert.equal(loaded({ argv: ['--host=[::]', '--auth=open'] }).config.host, '::');
});

test('an empty PULSAR_AUTH does not say open mode', () => {
	assert.equal(problems({ env: { PULSAR_HOST: '0.0.0.0', PULSAR_AUTH: '' } }).length, 1);
});

for (const [env, problem] of [
	[{ PULSAR_STORAGE_BACKEND: 'memory', PULSAR_DURABILITY: 'process' }, 'PULSAR_DURABILITY: the memory store cannot give process'],
	[
		{ PULSAR_STORAGE_BACKEND: 'embedded', PULSAR_DURABILITY: 'replicated:1' },
		'PULSAR_DURABILITY: the embedded store has no replicas',
	],
	[
		{ PULSAR_STORAGE_BACKEND: 'valkey', PULSAR_DURABILITY: 'replicated:2', PULSAR_VALKEY_CLUSTER: 'true' },
		'PULSAR_DURABILITY: replicas are waited for on one server with replicas only, not on a Cluster',
	],
	[{ PULSAR_VALKEY_ADDRESSES: '["a:1", "b"]' }, 'PULSAR_VALKEY_ADDRESSES: "b" is not host:port'],
	[{ PULSAR_VALKEY_ADDRESSES: '["a:0"]' }, 'PULSAR_VALKEY_ADDRESSES: "a:0" is not host:port'],
] as const) {
	test(`settings that do not go together: ${problem}`, () => {
		assert.deepEqual(problems({ env }), [problem]);
	});
}

test('each durability goes with a store that can give it', () => {
	for (const [storageBackend, durability] of [
		['memory', 'any'],
		['embedded', 'disk'],
		['embedded', 'process'],
		['embedded', 'everysec'],
		['valkey', 'everysec'],
		['valkey', 'disk'],
		['valkey', 'replicated:2'],
	] as const) {
		const { config } = loaded({ env: { PULSAR_STORAGE_BACKEND: storageBackend, PULSAR_DURABILITY: durability } });
		assert.deepEqual([config.storageBackend, config.durability], [storageBackend, durability]);
	}
});

test('hosts, origins and certificates that could never be right are told', () => {
	const wrongHosts = ['https://a.example', 'a.example:8080', 'a.example/x', 'a*.example', '*.', ''];
	const wrongOrigins = [
		['app.example.org', ''],
		['https://', ''],
		['null', ''],
		['https://*.example.org', ': name each origin, or give "*" for all'],
		['https://app.example.org/path', ': it has a path'],
		['https://app.example.org?', ': it has a path'],
		['https://app.example.org:0x50', ': there is no such host or port'],
		['https://app.example.org:99999', ': there is no such host or port'],
		['https://app.exa mple.org', ''],
		['file:///home', ': no page has one with file:'],
		['wss://app.example.org', ': no page has one with wss:'],
	] as const;
	const wrongProxies = ['proxy', '10.0.0.0/33', '10.0.0', '10.0.0.256', '::1/129', ':::', '10.0.0.0/', ''];
	const found = problems({
		env: {
			PULSAR_TRUSTED_PROXIES: JSON.stringify(wrongProxies),
			PULSAR_TRUSTED_HOSTS: JSON.stringify(wrongHosts),
			PULSAR_ALLOWED_ORIGINS: JSON.stringify(wrongOrigins.map(([origin]) => origin)),
			PULSAR_TLS_CLIENT_CA: 'ca.pem',
		},
	});
	for (const host of wrongHosts)
		assert(
			found.includes(`PULSAR_TRUSTED_HOSTS: ${JSON.stringify(host)} is not a name or address without scheme and port`),
			host,
		);
	for (const [origin, why] of wrongOrigins) {
		const shown = origin.replace(/\?$/, '?***');
		const problem = `PULSAR_ALLOWED_ORIGINS: ${JSON.stringify(origin.endsWith('?') ? shown : origin)} is not an origin such as https://app.example.org${why}`;
		assert(found.includes(problem), `${problem} is not among\n${found.join('\n')}`);
	}
	for (const proxy of wrongProxies)
		assert(
			found.includes(`PULSAR_TRUSTED_PROXIES: ${JSON.stringify(proxy)} is not an address or a network such as 10.0.0.0/8`),
			proxy,
		);
	assert(found.includes('PULSAR_TLS_CLIENT_CA: needs PULSAR_TLS_CERT and PULSAR_TLS_KEY'));
	assert.equal(found.length, wrongHosts.length + wrongOrigins.length + wrongProxies.length + 1);
	loaded({
		env: {
			PULSAR_TRUSTED_HOSTS: '["*","*.a.example","relay","10.0.0.1","::1","[fd00::1]"]',
			PULSAR_ALLOWED_ORIGINS: '["*","https://a.example:8443","http://[::1]:3000","capacitor://localhost"]',
			PULSAR_TRUSTED_PROXIES: '["10.0.0.0/8","192.0.2.1","::1","fd00::/8"]',
			PULSAR_TLS_CERT: 'a.pem',
			PULSAR_TLS_KEY: 'b.pem',
			PULSAR_TLS_CLIENT_CA: 'ca.pem',
		},
	});
});

test('hosts, origins and addresses are put into the form in which browsers, clients and proxies write them', () => {
	const { config } = loaded({
		env: {
			PULSAR_ALLOWED_ORIGINS: JSON.stringify([
				'https://app.example.org:443',
				'http://app.example.org:80',
				'http://app.example.org:443',
				'HTTPS://App.Example.ORG:8443',
				'https://bücher.example/',
				' https://a.example ',
				'http://[FD00:0:0::1]:80',
				'Capacitor://localhost/',
			]),
			PULSAR_TRUSTED_HOSTS: '["BÜCHER.example","*.Bücher.example","relay.example.org.","[FD00:0:0::1]"]',
			PULSAR_TRUSTED_PROXIES: '["::ffff:10.0.0.1","::ffff:10.0.0.0/104","[fd00::1]","10.0.0.0/8"]',
			PULSAR_OIDC__BASE_URL: 'https://Bücher.example:443/relay/',
		},
	});
	assert.deepEqual(config.allowedOrigins, [
		'https://app.example.org',
		'http://app.example.org',
		'http://app.example.org:443',
		'https://app.example.org:8443',
		'https://xn--bcher-kva.example',
		'https://a.example',
		'http://[fd00::1]',
		'capacitor://localhost',
	]);
	assert.deepEqual(config.trustedHosts, ['xn--bcher-kva.example', '*.xn--bcher-kva.example', 'relay.example.org', 'fd00::1']);
	assert.deepEqual(config.trustedProxies, ['10.0.0.1', '10.0.0.0/8', 'fd00::1', '10.0.0.0/8']);
	assert.equal(config.oidcBaseUrl, 'https://xn--bcher-kva.example/relay');
	assert.deepEqual(problems({ env: { PULSAR_OIDC__BASE_URL: 'https://relay.example.org/?a=1' } }), [
		'PULSAR_OIDC__BASE_URL: "https://relay.example.org/?***" has a query, after which no path can stand',
	]);
	assert.match(
		problems({ env: { PULSAR_ALLOWED_ORIGINS: '["https://me:secret@app.example.org"]' } })[0] ?? '',
		/^PULSAR_ALLOWED_ORIGINS: "https:\/\/\*\*\*@app.example.org" is not an origin .*: it has credentials$/,
	);
});
