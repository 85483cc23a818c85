/**
 * The one table of settings. Everything else is derived from it: the type {@link Config}, the names in the environment, in a
 * file and on the command line, the checks, `--help` and docs/reference/config.md.
 *
 * A setting has one name in three spellings: `PULSAR_MAX_TOPICS` in the environment, `max_topics` in a file, `--max-topics` as a
 * flag. Its key in {@link Config} is in camelCase and ends with the unit of its number.
 */

interface SettingBase {
	/** Name in {@link Config}; a number of seconds ends in `S`, one of bytes in `Bytes`, a count names what it counts. */
	readonly key: string;
	/** Name in the environment. */
	readonly env: `PULSAR_${string}`;
	/** What it does, for an operator: one sentence or two, without the default and the limits, which are added. */
	readonly doc: string;
	/** The value is never printed, and may be in a file that another setting names; see {@link fileSettingOf}. */
	readonly secret?: true;
}

/** Text; never empty. A default of null stands for none. */
export interface StringSetting extends SettingBase {
	readonly type: 'string';
	readonly default: string | null;
	/** What the text must look like, and that in words. */
	readonly form?: { readonly pattern: RegExp; readonly words: string };
}

/** A whole number from `min` to `max`. */
export interface IntSetting extends SettingBase {
	readonly type: 'int';
	readonly unit?: 's' | 'bytes';
	readonly min: number;
	readonly max: number;
	readonly default: number;
}

/** Yes or no. As a flag it may stand without a value. */
export interface BoolSetting extends SettingBase {
	readonly type: 'bool';
	readonly default: boolean;
}

/** One of a few words, in any mix of upper and lower case. */
export interface EnumSetting extends SettingBase {
	readonly type: 'enum';
	readonly values: readonly string[];
	readonly default: string;
	/** Other words for some of the values. */
	readonly aliases?: Readonly<Record<string, string>>;
	/** Words that would be understood but are not served, each with what to say about it. */
	readonly refused?: Readonly<Record<string, string>>;
}

/** Several texts: a list in a file, a JSON list in the environment and on the command line. */
export interface ListSetting extends SettingBase {
	readonly type: 'list';
	readonly default: readonly string[];
}

export type Setting = StringSetting | IntSetting | BoolSetting | EnumSetting | ListSetting;

interface SettingGroup {
	readonly title: string;
	readonly settings: readonly Setting[];
}

const MIB = 1024 * 1024;
const DAY_S = 86_400;
/** Takes no URL: one may have a password in it, which would end up in messages and logs. */
const PATH_FORM = { pattern: /^(?![a-z][a-z0-9+.-]+:\/\/)/i, words: 'a path, without scheme' } as const;
/** Takes no URL, as {@link PATH_FORM}. */
const HOST_FORM = {
	pattern: /^[^\s@/?#]+$/,
	words: 'a host name or an IP address, without scheme, user and path',
} as const;

export const SETTING_GROUPS = [
	{
		title: 'Listening',
		settings: [
			{
				key: 'host',
				env: 'PULSAR_HOST',
				type: 'string',
				default: '127.0.0.1',
				form: HOST_FORM,
				doc: 'Address to listen on. Any but a loopback address needs `PULSAR_AUTH` said explicitly.',
			},
			{
				key: 'port',
				env: 'PULSAR_PORT',
				type: 'int',
				min: 0,
				max: 65_535,
				default: 8080,
				doc: 'Port to listen on; 0 takes a free one.',
			},
			{
				key: 'workers',
				env: 'PULSAR_WORKERS',
				type: 'int',
				min: 1,
				max: 64,
				default: 1,
				doc: 'How many processes serve the port, each on a core of its own; more than one needs the `valkey` store. Limits on connections, polls, queues and memory hold for each of them.',
			},
			{
				key: 'tlsCert',
				env: 'PULSAR_TLS_CERT',
				type: 'string',
				form: PATH_FORM,
				default: null,
				doc: 'PEM file of the certificate, and of those between it and its authority: the relay then serves HTTPS only. Read again on SIGHUP, as are the two below.',
			},
			{
				key: 'tlsKey',
				env: 'PULSAR_TLS_KEY',
				type: 'string',
				form: PATH_FORM,
				default: null,
				doc: 'PEM file of its private key, without a passphrase.',
			},
			{
				key: 'tlsClientCa',
				env: 'PULSAR_TLS_CLIENT_CA',
				type: 'string',
				form: PATH_FORM,
				default: null,
				doc: 'PEM file of the authorities of clients: each connection then needs a certificate that one of them has signed (mTLS), also beside other credentials.',
			},
			{
				key: 'auth',
				env: 'PULSAR_AUTH',
				type: 'enum',
				values: ['open', 'required'],
				default: 'open',
				doc: 'Who may use the relay. `required`: accounts, by password, token or API key; it is the default where a JWT secret or a bootstrap password is set. `open` asks nobody for credentials, and is the default on a loopback address only.',
			},
			{
				key: 'appName',
				env: 'PULSAR_APP_NAME',
				type: 'string',
				default: 'Pulsar Relay',
				doc: 'Title of the API documentation at `/docs`.',
			},
		],
	},
	{
		title: 'Accounts and tokens',
		settings: [
			{
				key: 'jwtSecretKey',
				env: 'PULSAR_JWT_SECRET_KEY',
				type: 'string',
				default: null,
				secret: true,
				doc: 'Signs access tokens; at least 32 characters, the same on every node. Without it, on a loopback address, each start makes one, and tokens end with the process.',
			},
			{
				key: 'accessTokenExpireMinutes',
				env: 'PULSAR_ACCESS_TOKEN_EXPIRE_MINUTES',
				type: 'int',
				min: 1,
				max: 120,
				default: 10,
				doc: 'Minutes an access token lives. Existing clients renew theirs 5 minutes before it ends, so that 5 or less makes them sign in for every call.',
			},
			{
				key: 'refreshTokenTtlDays',
				env: 'PULSAR_REFRESH_TOKEN_TTL_DAYS',
				type: 'int',
				min: 1,
				max: 365,
				default: 90,
				doc: 'Days a session lives from its last use.',
			},
			{
				key: 'refreshGraceS',
				env: 'PULSAR_REFRESH_GRACE',
				type: 'int',
				unit: 's',
				min: 0,
				max: 600,
				default: 30,
				doc: 'How long a refresh token that was used gives the same successor again, for clients whose answer was lost. After that it ends the session.',
			},
			{
				key: 'bootstrapAdminUsername',
				env: 'PULSAR_BOOTSTRAP_ADMIN_USERNAME',
				type: 'string',
				default: null,
				doc: 'Account that is made at the start, with all permissions, when there is none of that name.',
			},
			{
				key: 'bootstrapAdminPassword',
				env: 'PULSAR_BOOTSTRAP_ADMIN_PASSWORD',
				type: 'string',
				default: null,
				secret: true,
				doc: 'Password of that account. It acts when the account is made, and again whenever its value is another than the one that was applied last: the account then gets it, and everything made under the old one ends. A password changed through the API stays.',
			},
			{
				key: 'bootstrapAdminEmail',
				env: 'PULSAR_BOOTSTRAP_ADMIN_EMAIL',
				type: 'string',
				default: null,
				doc: 'E-mail address of that account when it is made.',
			},
			{
				key: 'allowedOrigins',
				env: 'PULSAR_ALLOWED_ORIGINS',
				type: 'list',
				default: [],
				doc: 'Origins of web pages that may use the relay, as `https://app.example.org`, or `*`. Its own pages always may. Each is one origin: no path, no wildcard for subdomains.',
			},
			{
				key: 'trustedHosts',
				env: 'PULSAR_TRUSTED_HOSTS',
				type: 'list',
				default: [],
				doc: 'Names and addresses under which the relay is reached, without port; `*.example.org` for every name below, `*` for all. Requests with another `Host` are refused, but for `/health`, `/ready` and `/metrics` by address. Without any, a relay on a loopback address is reached by loopback names and addresses only, another by all.',
			},
			{
				key: 'allowInsecureDefaults',
				env: 'PULSAR_ALLOW_INSECURE_DEFAULTS',
				type: 'bool',
				default: false,
				doc: 'Start beyond loopback even where secrets, origins or hosts are missing or weak. For trying things out only.',
			},
		],
	},
	{
		title: 'Sign-in by a provider, and devices',
		settings: [
			{
				key: 'oidcEnabled',
				env: 'PULSAR_OIDC__ENABLED',
				type: 'bool',
				default: false,
				doc: 'Let people sign in at the OpenID Connect providers that are set up, see below.',
			},
			{
				key: 'oidcBaseUrl',
				env: 'PULSAR_OIDC__BASE_URL',
				type: 'string',
				default: null,
				doc: 'The URL under which browsers reach the relay: https, or http on a loopback address. Providers send people back to it. With it, also without providers, devices are signed in by a code at `/auth/device`.',
			},
			{
				key: 'oidcDefaultPermissions',
				env: 'PULSAR_OIDC__DEFAULT_PERMISSIONS',
				type: 'list',
				default: ['read', 'write'],
				doc: 'What an account may do that is made when somebody signs in for the first time: of `admin`, `read`, `write`.',
			},
			{
				key: 'oidcStateTtlS',
				env: 'PULSAR_OIDC__STATE_TTL_SECONDS',
				type: 'int',
				unit: 's',
				min: 60,
				max: 3600,
				default: 600,
				doc: 'How long somebody may take at the provider.',
			},
			{
				key: 'deviceCodeTtlS',
				env: 'PULSAR_DEVICE_CODE_TTL_SECONDS',
				type: 'int',
				unit: 's',
				min: 60,
				max: 3600,
				default: 600,
				doc: 'How long the code of a device can be used.',
			},
			{
				key: 'deviceCodePollIntervalS',
				env: 'PULSAR_DEVICE_CODE_POLL_INTERVAL',
				type: 'int',
				unit: 's',
				min: 1,
				max: 60,
				default: 5,
				doc: 'How long a device must wait between two questions whether it was approved.',
			},
		],
	},
	{
		title: 'Tokens of another issuer',
		settings: [
			{
				key: 'tokenIssuer',
				env: 'PULSAR_TOKEN_ISSUER',
				type: 'string',
				default: null,
				doc: 'An issuer whose access tokens are accepted beside those of the relay: the `iss` of its tokens, to the letter.',
			},
			{
				key: 'tokenAudience',
				env: 'PULSAR_TOKEN_AUDIENCE',
				type: 'string',
				default: null,
				doc: 'What must be in the `aud` of its tokens.',
			},
			{
				key: 'tokenJwksUri',
				env: 'PULSAR_TOKEN_JWKS_URI',
				type: 'string',
				default: null,
				doc: 'Where its keys are (RS256, ES256 or EdDSA): https, or http on a loopback address.',
			},
			{
				key: 'tokenClaimUsername',
				env: 'PULSAR_TOKEN_CLAIM_USERNAME',
				type: 'string',
				default: null,
				doc: 'The claim that names the account, by its username. Without it, and first with it, a token is for the account that its `iss` and `sub` made by signing in. Whoever decides what is in that claim can act as any account; an `email` counts only with `email_verified`.',
			},
		],
	},
	{
		title: 'Storage and retention',
		settings: [
			{
				key: 'storageBackend',
				env: 'PULSAR_STORAGE_BACKEND',
				type: 'enum',
				values: ['embedded', 'valkey', 'memory'],
				default: 'embedded',
				doc: 'Where messages are kept: `embedded` on disk in the data directory, `valkey` on a server that several relays may share, `memory` nowhere beyond the process.',
			},
			{
				key: 'dataDir',
				env: 'PULSAR_DATA_DIR',
				type: 'string',
				form: PATH_FORM,
				default: './data',
				doc: 'Directory of the embedded store, relative to the working directory; made when missing. One process at a time uses it.',
			},
			{
				key: 'durability',
				env: 'PULSAR_DURABILITY',
				type: 'string',
				default: 'any',
				form: {
					pattern: /^(any|everysec|process|disk|replicated:[1-9])$/,
					words: 'any, everysec, process, disk, or replicated: and a number from 1 to 9',
				},
				doc: 'What an acknowledgement must survive: `everysec` kill -9 of the relay, and all but the last two seconds a crash of the store or its machine; `process` kill -9 of relay and store; `disk` also power loss; `replicated:2` waits for two replicas, too. A store that cannot give it is not used. `any` takes what the store gives; `/ready` says what that is.',
			},
			{
				key: 'persistentTierRetentionS',
				env: 'PULSAR_PERSISTENT_TIER_RETENTION',
				type: 'int',
				unit: 's',
				min: 1,
				max: 3650 * DAY_S,
				default: DAY_S,
				doc: 'How long a message is kept, in topics that do not set `max_age_s` themselves.',
			},
			{
				key: 'maxMessagesPerTopic',
				env: 'PULSAR_MAX_MESSAGES_PER_TOPIC',
				type: 'int',
				min: 1,
				max: 1_000_000_000_000,
				default: 1_000_000,
				doc: 'How many messages a topic keeps, when it does not set `max_messages` itself.',
			},
			{
				key: 'maxTopics',
				env: 'PULSAR_MAX_TOPICS',
				type: 'int',
				min: 1,
				max: 10_000_000,
				default: 100_000,
				doc: 'How many topics there can be. Where there are several accounts, none may have more than it leaves to the others.',
			},
		],
	},
	{
		title: 'Valkey',
		settings: [
			{
				key: 'valkeyHost',
				env: 'PULSAR_VALKEY_HOST',
				type: 'string',
				default: '127.0.0.1',
				form: HOST_FORM,
				doc: 'Host of the Valkey (or Redis 7) server, or of a node of the Cluster.',
			},
			{
				key: 'valkeyPort',
				env: 'PULSAR_VALKEY_PORT',
				type: 'int',
				min: 1,
				max: 65_535,
				default: 6379,
				doc: 'Port of the server.',
			},
			{
				key: 'valkeyAddresses',
				env: 'PULSAR_VALKEY_ADDRESSES',
				type: 'list',
				default: [],
				doc: 'Instead of host and port: `host:port` of a server and its replicas, among which the relay finds the primary, or of several nodes of a Cluster. IPv6 as in a URL: `[::1]:6379`.',
			},
			{
				key: 'valkeyCluster',
				env: 'PULSAR_VALKEY_CLUSTER',
				type: 'bool',
				default: false,
				doc: 'The server is a node of a Valkey Cluster.',
			},
			{
				key: 'valkeyUseTls',
				env: 'PULSAR_VALKEY_USE_TLS',
				type: 'bool',
				default: false,
				doc: 'Connect over TLS, and verify the certificate.',
			},
			{
				key: 'valkeyCaPath',
				env: 'PULSAR_VALKEY_CA_PATH',
				type: 'string',
				form: PATH_FORM,
				default: null,
				doc: "PEM file of the certificates to trust, instead of the system's. Read again at each attempt to connect, as are the two below.",
			},
			{
				key: 'valkeyTlsCert',
				env: 'PULSAR_VALKEY_TLS_CERT',
				type: 'string',
				form: PATH_FORM,
				default: null,
				doc: 'PEM file of the certificate that the relay shows to a server with `tls-auth-clients`.',
			},
			{
				key: 'valkeyTlsKey',
				env: 'PULSAR_VALKEY_TLS_KEY',
				type: 'string',
				form: PATH_FORM,
				default: null,
				doc: 'PEM file of its key.',
			},
			{
				key: 'valkeyUsername',
				env: 'PULSAR_VALKEY_USERNAME',
				type: 'string',
				default: null,
				doc: 'User of the server; without one, its `default` user.',
			},
			{
				key: 'valkeyPassword',
				env: 'PULSAR_VALKEY_PASSWORD',
				type: 'string',
				default: null,
				secret: true,
				doc: 'Password of the user. With `PULSAR_VALKEY_PASSWORD_FILE` it is read again at each attempt to connect, so that it can be rotated.',
			},
			{
				key: 'valkeyKeyPrefix',
				env: 'PULSAR_VALKEY_KEY_PREFIX',
				type: 'string',
				default: null,
				form: { pattern: /^[a-z0-9_.:-]{1,64}$/i, words: 'up to 64 letters, digits and _ . : -' },
				doc: 'In front of the name of every key and channel, so that several environments can share one server. Nodes of one relay need the same.',
			},
			{
				key: 'valkeyStartTimeoutS',
				env: 'PULSAR_VALKEY_START_TIMEOUT',
				type: 'int',
				unit: 's',
				min: 0,
				max: DAY_S,
				default: 60,
				doc: 'How long the start waits for a server that cannot be reached yet, loads its data or has no primary. Meanwhile `/health` is 200 and everything else 503. 0 = not at all.',
			},
			{
				key: 'valkeyAllowEviction',
				env: 'PULSAR_VALKEY_ALLOW_EVICTION',
				type: 'bool',
				default: false,
				doc: 'Use a server whose `maxmemory-policy` throws away whole topics when memory is short. Without it such a server makes `/ready` 503.',
			},
			{
				key: 'valkeyAssumeDurability',
				env: 'PULSAR_VALKEY_ASSUME_DURABILITY',
				type: 'enum',
				values: ['unknown', 'memory', 'everysec', 'process', 'disk'],
				default: 'unknown',
				doc: 'What an acknowledgement survives on a server that does not let its settings be read (managed services).',
			},
		],
	},
	{
		title: 'Import',
		settings: [
			{
				key: 'importSource',
				env: 'PULSAR_IMPORT_SOURCE',
				type: 'string',
				default: null,
				secret: true,
				form: {
					pattern: /^(valkey|redis)s?:\/\/([^@/?#]*@)?(\[[0-9a-f:]+\]|[^@/?#:[\]]+)(:\d{1,5})?\/?$/i,
					words: 'valkey://user:password@host:port, or valkeys:// with TLS',
				},
				doc: 'Where `pulsar-relay import` finds the data of pulsar-relay 0.2; without it, on the server that the Valkey settings name.',
			},
		],
	},
	{
		title: 'Hot tier',
		settings: [
			{
				key: 'hotTierRetentionS',
				env: 'PULSAR_HOT_TIER_RETENTION',
				type: 'int',
				unit: 's',
				min: 1,
				max: 30 * DAY_S,
				default: 600,
				doc: 'How long the newest messages stay in memory to serve live delivery and recent resumes.',
			},
			{
				key: 'hotTierMaxBytes',
				env: 'PULSAR_HOT_TIER_MAX_BYTES',
				type: 'int',
				unit: 'bytes',
				min: 1024,
				max: 1024 * 1024 * MIB,
				default: 256 * MIB,
				doc: 'Memory for the hot tier of all topics together.',
			},
			{
				key: 'hotTierMaxMessagesPerTopic',
				env: 'PULSAR_HOT_TIER_MAX_MESSAGES_PER_TOPIC',
				type: 'int',
				min: 1,
				max: 100_000_000,
				default: 100_000,
				doc: 'How many messages the hot tier holds of one topic.',
			},
		],
	},
	{
		title: 'Publishing',
		settings: [
			{
				key: 'maxBodyBytes',
				env: 'PULSAR_MAX_BODY_BYTES',
				type: 'int',
				unit: 'bytes',
				min: 1024,
				max: 256 * MIB,
				default: 32 * MIB,
				doc: 'Largest request body, and largest line of a streamed one; larger ones are answered 413.',
			},
			{
				key: 'maxPayloadDepth',
				env: 'PULSAR_MAX_PAYLOAD_DEPTH',
				type: 'int',
				min: 1,
				max: 4096,
				default: 256,
				doc: 'How deep the JSON of a request may nest.',
			},
			{
				key: 'maxReceivingBytes',
				env: 'PULSAR_MAX_RECEIVING_BYTES',
				type: 'int',
				unit: 'bytes',
				min: MIB,
				max: 16 * 1024 * MIB,
				default: 256 * MIB,
				doc: 'Bytes held of bodies, lines and WebSocket messages that have come in part, or wait to be read. One account, or one client address where there are no accounts, holds at most 1.25 times the largest message; where all is held, who holds most is refused first.',
			},
			{
				key: 'maxPublishQueueBytes',
				env: 'PULSAR_MAX_PUBLISH_QUEUE_BYTES',
				type: 'int',
				unit: 'bytes',
				min: 1024,
				max: 16 * 1024 * MIB,
				default: 256 * MIB,
				doc: 'Bytes that may wait to be stored before a publish is answered 503 `overloaded`. Of the topics of one account no more may wait than is left for the others.',
			},
			{
				key: 'idempotencyWindowS',
				env: 'PULSAR_IDEMPOTENCY_WINDOW',
				type: 'int',
				unit: 's',
				min: 1,
				max: 365 * DAY_S,
				default: DAY_S,
				doc: 'How long an `Idempotency-Key` is remembered.',
			},
			{
				key: 'idempotencyMaxKeys',
				env: 'PULSAR_IDEMPOTENCY_MAX_KEYS',
				type: 'int',
				min: 1,
				max: 1_000_000_000,
				default: 10_000_000,
				doc: 'How many keys are remembered; beyond it the oldest of the accounts with most are forgotten before their time.',
			},
		],
	},
	{
		title: 'Connections and subscriptions',
		settings: [
			{
				key: 'maxConnections',
				env: 'PULSAR_MAX_CONNECTIONS',
				type: 'int',
				min: 1,
				max: 1_000_000,
				default: 20_000,
				doc: 'How many connections may be open at once. Where there are several accounts, none may have more than it leaves to the others. The file descriptors of the process must allow as many.',
			},
			{
				key: 'maxSubscriptionsPerConnection',
				env: 'PULSAR_MAX_SUBSCRIPTIONS_PER_CONNECTION',
				type: 'int',
				min: 1,
				max: 100_000,
				default: 1000,
				doc: 'How many topics one connection or one request may follow.',
			},
			{
				key: 'maxWaitingPolls',
				env: 'PULSAR_MAX_WAITING_POLLS',
				type: 'int',
				min: 1,
				max: 1_000_000,
				default: 10_000,
				doc: 'How many polls may wait for messages at once. Where there are several accounts, none may have more than it leaves to the others.',
			},
			{
				key: 'socketBufferBytes',
				env: 'PULSAR_SOCKET_BUFFER_BYTES',
				type: 'int',
				unit: 'bytes',
				min: 1024,
				max: 256 * MIB,
				default: 256 * 1024,
				doc: 'Bytes buffered for one connection before it counts as lagging and is served from the log instead.',
			},
			{
				key: 'wsMaxMessageBytes',
				env: 'PULSAR_WS_MAX_MESSAGE_BYTES',
				type: 'int',
				unit: 'bytes',
				min: 1024,
				max: 256 * MIB,
				default: 16 * MIB,
				doc: 'Largest message a WebSocket client may send; a larger one closes the connection with 1009.',
			},
		],
	},
	{
		title: 'Limits of accounts and clients',
		settings: [
			{
				key: 'rateLimitPrincipal',
				env: 'PULSAR_RATE_LIMIT',
				type: 'int',
				min: 1,
				max: 1_000_000_000,
				default: 600_000,
				doc: 'Requests and messages a minute of one account, of each of its API keys, and of its scoped tokens together; a minute of them may come at once. This and the limits below hold where credentials are asked for, and for all nodes that share a Valkey server together, except where they say otherwise.',
			},
			{
				key: 'rateLimitAddress',
				env: 'PULSAR_RATE_LIMIT_ADDRESS',
				type: 'int',
				min: 1,
				max: 1_000_000_000,
				default: 1200,
				doc: 'Requests a minute of one client address (of IPv6, of its /64) without credentials or with wrong ones. All addresses of an IPv4 /24 or an IPv6 /48 together have 16 times as many, those of a /56 4 times; so it is with the limits by address below. Signing in has limits of its own; `/health`, `/ready` and `/metrics` do not count.',
			},
			{
				key: 'rateLimitLogin',
				env: 'PULSAR_RATE_LIMIT_LOGIN',
				type: 'int',
				min: 1,
				max: 1_000_000_000,
				default: 5,
				doc: 'Wrong passwords a minute from one client address for one account, and ten times as many for all. Right ones do not count.',
			},
			{
				key: 'rateLimitRefresh',
				env: 'PULSAR_RATE_LIMIT_REFRESH',
				type: 'int',
				min: 1,
				max: 1_000_000_000,
				default: 10,
				doc: 'Wrong refresh tokens a minute from one client address for one session, and a hundred times as many for all. Right ones do not count.',
			},
			{
				key: 'rateLimitDevice',
				env: 'PULSAR_RATE_LIMIT_DEVICE',
				type: 'int',
				min: 1,
				max: 1_000_000_000,
				default: 10,
				doc: 'Device codes a minute that one client address may ask for, and wrong user codes that it may try.',
			},
			{
				key: 'wsMaxPerUser',
				env: 'PULSAR_WS_MAX_PER_USER',
				type: 'int',
				min: 1,
				max: 1_000_000,
				default: 5000,
				doc: 'WebSockets and event streams that one account, with its keys and scoped tokens, may have open at each node. Of this and the two below one API key may have half, one scoped token a quarter, and all keys and tokens together nine tenths.',
			},
			{
				key: 'maxPollsPerUser',
				env: 'PULSAR_MAX_POLLS_PER_USER',
				type: 'int',
				min: 1,
				max: 1_000_000,
				default: 2000,
				doc: 'Polls of one account that may be under way at each node.',
			},
			{
				key: 'maxSubscriptionsPerUser',
				env: 'PULSAR_MAX_SUBSCRIPTIONS_PER_USER',
				type: 'int',
				min: 1,
				max: 100_000_000,
				default: 100_000,
				doc: 'Topics that the connections of one account may follow in all at each node; a topic counts for each connection.',
			},
			{
				key: 'maxTopicsPerUser',
				env: 'PULSAR_MAX_TOPICS_PER_USER',
				type: 'int',
				min: 1,
				max: 10_000_000,
				default: 10_000,
				doc: 'Topics that one account may have. Counted every 10 s while it publishes: what comes in between is let in.',
			},
			{
				key: 'maxPerUserBytes',
				env: 'PULSAR_MAX_BYTES_PER_USER',
				type: 'int',
				unit: 'bytes',
				min: 1024,
				max: 1024 * 1024 * 1024 * MIB,
				default: 100 * 1024 * MIB,
				doc: 'Bytes that the topics of one account may keep; further publishes to them are answered 507 `account_full` until retention or a deletion has made room. Counted as the topics are.',
			},
			{
				key: 'trustedProxies',
				env: 'PULSAR_TRUSTED_PROXIES',
				type: 'list',
				default: [],
				doc: 'Addresses and networks (`10.0.0.0/8`) of the proxies in front of the relay, whose `X-Forwarded-For` tells the address of the client. From others it is not looked at.',
			},
		],
	},
	{
		title: 'Timeouts',
		settings: [
			{
				key: 'wsPingIntervalS',
				env: 'PULSAR_WS_PING_INTERVAL',
				type: 'int',
				unit: 's',
				min: 1,
				max: 3600,
				default: 25,
				doc: 'Time between pings on a WebSocket; a peer silent for two of them is closed.',
			},
			{
				key: 'sseHeartbeatIntervalS',
				env: 'PULSAR_SSE_HEARTBEAT_INTERVAL',
				type: 'int',
				unit: 's',
				min: 1,
				max: 3600,
				default: 15,
				doc: 'Time between comment lines on a quiet SSE stream, which keep proxies from closing it.',
			},
			{
				key: 'keepAliveTimeoutS',
				env: 'PULSAR_KEEP_ALIVE_TIMEOUT',
				type: 'int',
				unit: 's',
				min: 66,
				max: 3600,
				default: 75,
				doc: 'How long an idle keep-alive connection stays open. Longer than the 60 s after which load balancers let go of theirs.',
			},
			{
				key: 'bodyTimeoutS',
				env: 'PULSAR_BODY_TIMEOUT',
				type: 'int',
				unit: 's',
				min: 1,
				max: 3600,
				default: 60,
				doc: 'How long the body of a request, a line of a streamed one, or a WebSocket message may take from its beginning to its end, and how long a streamed publish waits for a client that does not read its results.',
			},
			{
				key: 'drainTimeoutS',
				env: 'PULSAR_DRAIN_TIMEOUT',
				type: 'int',
				unit: 's',
				min: 0,
				max: 3600,
				default: 10,
				doc: 'How long a stopping relay waits for what is in flight.',
			},
		],
	},
	{
		title: 'Metrics',
		settings: [
			{
				key: 'metricsToken',
				env: 'PULSAR_METRICS_TOKEN',
				type: 'string',
				default: null,
				secret: true,
				form: { pattern: /^[!-~]{16,1024}$/, words: '16 to 1024 visible ASCII characters' },
				doc: 'What a scraper sends as `Authorization: Bearer …` to read `/metrics`; 16 to 1024 visible ASCII characters. Where credentials are asked for, `/metrics` is readable by this token and by administrators only. In open mode everybody may read it, unless this is set.',
			},
			{
				key: 'metricsAddress',
				env: 'PULSAR_METRICS_ADDRESS',
				type: 'string',
				default: null,
				form: { pattern: /^(\[[0-9a-f:.]+\]|[^\s@/?#:]+):\d{1,5}$/i, words: 'host:port, such as 127.0.0.1:9091' },
				doc: 'An address of its own, `host:port`, where `/metrics`, `/health` and `/ready` are served over plain HTTP, for an internal network; `/metrics` is then not served elsewhere. It asks for `PULSAR_METRICS_TOKEN` if that is set, else for nothing.',
			},
		],
	},
	{
		title: 'Logging',
		settings: [
			{
				key: 'logLevel',
				env: 'PULSAR_LOG_LEVEL',
				type: 'enum',
				values: ['debug', 'info', 'warning', 'error', 'critical'],
				aliases: { trace: 'debug', warn: 'warning' },
				default: 'info',
				doc: 'The least severe level that is logged. `trace` means `debug`, and `warn` means `warning`.',
			},
			{
				key: 'logFormat',
				env: 'PULSAR_LOG_FORMAT',
				type: 'enum',
				values: ['auto', 'json', 'pretty'],
				default: 'auto',
				doc: 'Form of the log on standard output: `json` lines, `pretty` for people; `auto` is pretty on a terminal and JSON elsewhere.',
			},
		],
	},
] as const satisfies readonly SettingGroup[];

type KnownSetting = (typeof SETTING_GROUPS)[number]['settings'][number];

type ValueOf<S extends Setting> = S extends IntSetting
	? number
	: S extends BoolSetting
		? boolean
		: S extends EnumSetting
			? S['values'][number]
			: S extends ListSetting
				? readonly string[]
				: S extends { readonly default: null }
					? string | null
					: string;

/**
 * The settings of one sign-in provider. `<NAME>` stands for the name that it is given by setting them, which is also in the
 * provider's addresses at the relay. In a file they may stand in tables: `oidc`, `providers`, the name. There are no flags.
 */
export const PROVIDER_SETTINGS = [
	{
		key: 'displayName',
		env: 'PULSAR_OIDC__PROVIDERS__<NAME>__DISPLAY_NAME',
		type: 'string',
		default: null,
		doc: 'What people know the provider by.',
	},
	{
		key: 'clientId',
		env: 'PULSAR_OIDC__PROVIDERS__<NAME>__CLIENT_ID',
		type: 'string',
		default: null,
		doc: 'The name of the relay at the provider.',
	},
	{
		key: 'clientSecret',
		env: 'PULSAR_OIDC__PROVIDERS__<NAME>__CLIENT_SECRET',
		type: 'string',
		default: null,
		secret: true,
		doc: 'Its secret there.',
	},
	{
		key: 'scopes',
		env: 'PULSAR_OIDC__PROVIDERS__<NAME>__SCOPES',
		type: 'list',
		default: ['openid', 'email', 'profile'],
		doc: 'What is asked for; `openid` must be among them.',
	},
	{
		key: 'discoveryUrl',
		env: 'PULSAR_OIDC__PROVIDERS__<NAME>__DISCOVERY_URL',
		type: 'string',
		default: null,
		doc: 'Where the provider describes itself: `https://…/.well-known/openid-configuration`. All else is read from there.',
	},
	{
		key: 'issuer',
		env: 'PULSAR_OIDC__PROVIDERS__<NAME>__ISSUER',
		type: 'string',
		default: null,
		doc: 'Instead of the discovery URL, together with the next three: the `iss` of its tokens.',
	},
	{
		key: 'authorizationEndpoint',
		env: 'PULSAR_OIDC__PROVIDERS__<NAME>__AUTHORIZATION_ENDPOINT',
		type: 'string',
		default: null,
		doc: 'Where people sign in.',
	},
	{
		key: 'tokenEndpoint',
		env: 'PULSAR_OIDC__PROVIDERS__<NAME>__TOKEN_ENDPOINT',
		type: 'string',
		default: null,
		doc: 'Where the relay exchanges the code.',
	},
	{
		key: 'jwksUri',
		env: 'PULSAR_OIDC__PROVIDERS__<NAME>__JWKS_URI',
		type: 'string',
		default: null,
		doc: 'Where its keys are.',
	},
	{
		key: 'claimUsername',
		env: 'PULSAR_OIDC__PROVIDERS__<NAME>__CLAIM_USERNAME',
		type: 'string',
		default: 'email',
		doc: 'The claim that a new account is named by; if it is missing, `preferred_username`, the e-mail address, or `sub`.',
	},
	{
		key: 'claimEmail',
		env: 'PULSAR_OIDC__PROVIDERS__<NAME>__CLAIM_EMAIL',
		type: 'string',
		default: 'email',
		doc: 'The claim with the e-mail address. It counts only where `email_verified` is true.',
	},
	{
		key: 'claimSub',
		env: 'PULSAR_OIDC__PROVIDERS__<NAME>__CLAIM_SUB',
		type: 'string',
		default: 'sub',
		doc: 'The claim by which the provider tells people apart. It must never be given to somebody else.',
	},
] as const satisfies readonly Setting[];

type ProviderSetting = (typeof PROVIDER_SETTINGS)[number];

type SecretSetting = Extract<KnownSetting, { readonly secret: true }>;

/** A sign-in provider as it is set up. */
export type ProviderConfig = { readonly name: string } & { readonly [S in ProviderSetting as S['key']]: ValueOf<S> };

/** The settings in force: complete, checked and frozen. Numbers are in the unit that ends their key. */
export type Config = { readonly [S in KnownSetting as S['key']]: ValueOf<S> } & {
	/** The files that secrets were read from. */
	readonly [S in SecretSetting as `${S['key']}File`]: string | null;
} & {
	readonly oidcProviders: readonly ProviderConfig[];
};

/** Every setting, in the order of the table, each secret one followed by the one for its file. */
export const SETTINGS: readonly Setting[] = SETTING_GROUPS.flatMap((group) => withFileSettings(group.settings));

/** Settings, each secret one followed by the one for its file. */
export function withFileSettings(settings: readonly Setting[]): readonly Setting[] {
	return settings.flatMap((setting) => (setting.secret === true ? [setting, fileSettingOf(setting)] : [setting]));
}

/** The setting that names the file of a secret: `PULSAR_JWT_SECRET_KEY_FILE`. */
export function fileSettingOf({ key, env }: Setting): StringSetting {
	return {
		key: `${key}File`,
		env: `${env}_FILE`,
		type: 'string',
		default: null,
		form: PATH_FORM,
		doc: `File that holds the value of \`${env}\`, instead of giving it there. A line feed at its end does not count.`,
	};
}

/** The flag of a setting: `--max-topics`. */
export function flagOf(setting: Setting): string {
	return `--${fileKeyOf(setting).replaceAll('_', '-')}`;
}

/** The key of a setting in a file: `max_topics`. */
export function fileKeyOf(setting: Setting): string {
	return setting.env.slice('PULSAR_'.length).toLowerCase();
}
