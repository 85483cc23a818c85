/** The requests and answers of the routes of accounts, tokens and keys: one source for validation, types and the documentation. */

import { TOPIC_REFERENCE_PATTERN } from '@pulsar-relay/protocol/topic-name';
import { Type } from 'typebox';
import { SCOPED_LIFETIME_S_MAX } from '../../auth/access-tokens.ts';
import { PASSWORD_LENGTH_MAX, PASSWORD_LENGTH_MIN } from '../../auth/passwords.ts';
import { ACTIONS, type Action, PERMISSIONS, type Permission } from '../../auth/principal.ts';
import { SCOPED_LIFETIME_S_DEFAULT } from '../../auth/scoped-tokens.ts';
import { SCOPE_TOPICS_MAX, SCOPES_MAX } from '../../auth/scopes.ts';
import { USERNAME_LENGTH_MAX, USERNAME_LENGTH_MIN, USERNAME_PATTERN } from '../../auth/usernames.ts';

const EMAIL_LENGTH_MAX = 320;
const NAME_LENGTH_MAX = 100;
const REFRESH_TOKEN_LENGTH_MAX = 1024;
/** The longest overlap of two secrets of a key, and the overlap when the request does not say. */
const OVERLAP_S_MAX = 30 * 86_400;
const OVERLAP_S_DEFAULT = 86_400;
/** The longest life of a key that ends: 100 years. */
const KEY_LIFETIME_S_MAX = 3_155_760_000;

function nullable<T>({ type, ...options }: { readonly type: string; readonly [option: string]: unknown }) {
	return Type.Unsafe<T | null>({ ...options, type: [type, 'null'] });
}

const Timestamp = Type.String({ format: 'date-time', examples: ['2026-11-23T12:46:40.123Z'] });
const TimestampOrNull = nullable<string>({ type: 'string', format: 'date-time' });
const Username = Type.String({ minLength: USERNAME_LENGTH_MIN, maxLength: USERNAME_LENGTH_MAX, pattern: USERNAME_PATTERN });
const Password = Type.String({ minLength: PASSWORD_LENGTH_MIN, maxLength: PASSWORD_LENGTH_MAX });
const Email = nullable<string>({ type: 'string', maxLength: EMAIL_LENGTH_MAX });
const Permissions = Type.Unsafe<readonly Permission[]>({
	type: 'array',
	maxItems: 10,
	items: { type: 'string', enum: PERMISSIONS },
});

/** Fields of a form are texts. `grant_type` may be there, as OAuth clients send it. */
export const LoginForm = Type.Object({
	username: Type.String({ maxLength: 1024 }),
	password: Type.String({ maxLength: PASSWORD_LENGTH_MAX }),
	grant_type: Type.Optional(Type.String({ pattern: '^password$' })),
});

export const TokensAnswer = Type.Object(
	{
		access_token: Type.String({ description: 'A JWT; its `sub` is the user id' }),
		token_type: Type.Enum(['bearer']),
		expires_in: Type.Integer({ description: 'Seconds' }),
		refresh_token: Type.String(),
		refresh_token_secondary: nullable<string>({ type: 'string' }),
	},
	{ description: 'Tokens' },
);

export const RefreshRequest = Type.Object({ refresh_token: Type.String({ maxLength: REFRESH_TOKEN_LENGTH_MAX }) });

export const RevokeRequest = Type.Object({
	refresh_token: Type.String({ maxLength: REFRESH_TOKEN_LENGTH_MAX }),
	revoke_chain: Type.Optional(Type.Boolean({ description: 'A session is ended as a whole in any case' })),
});

export const AccountAnswer = Type.Object(
	{
		user_id: Type.String(),
		username: Type.String(),
		email: Email,
		is_active: Type.Boolean(),
		created_at: Timestamp,
		permissions: Permissions,
		owned_topics: Type.Array(Type.String()),
	},
	{ description: 'The account' },
);

export const AccountCreation = Type.Object({
	username: Username,
	password: Password,
	email: Type.Optional(Email),
	permissions: Type.Optional(Permissions),
});

/** What is absent stays as it is; null is a value of `email` only. */
export const AccountUpdate = Type.Object({
	email: Type.Optional(Email),
	password: Type.Optional(Password),
	permissions: Type.Optional(Permissions),
	is_active: Type.Optional(Type.Boolean()),
});

export const AccountListQuery = Type.Object({
	after: Type.Optional(Type.String({ description: 'Accounts after this user id only' })),
	limit: Type.Integer({ minimum: 1, maximum: 10_000, default: 10_000 }),
});

export const AccountStats = Type.Object({ total_users: Type.Integer(), active_users: Type.Integer() }, { description: 'Totals' });

export const SessionList = Type.Array(
	Type.Object({
		jti: Type.String(),
		issued_at: Timestamp,
		expires_at: Timestamp,
		last_used_at: TimestampOrNull,
		client_hint: nullable<string>({ type: 'string' }),
	}),
	{ description: "The caller's sessions, newest first" },
);

/** The beginning of a topic name, for the documentation; `isTopicPattern` decides. */
const TOPIC_PREFIX_PATTERN = '^(?:[A-Za-z0-9._@+-]{1,50}/)?(?:[A-Za-z0-9_-][A-Za-z0-9_.-]{0,253})?[*]$';
const ScopeText = Type.Object({
	actions: Type.Unsafe<readonly Action[]>({
		type: 'array',
		minItems: 1,
		maxItems: 2,
		items: { type: 'string', enum: ACTIONS },
	}),
	topics: Type.Array(
		Type.String({
			maxLength: 310,
			description: 'A name, or the beginning of one: `jobs`, `jobs.*`, `*`',
			documented: { pattern: `${TOPIC_REFERENCE_PATTERN}|${TOPIC_PREFIX_PATTERN}` },
			examples: ['jobs.*'],
		}),
		{ minItems: 1, maxItems: SCOPE_TOPICS_MAX },
	),
});
const Scopes = Type.Array(ScopeText, { minItems: 1, maxItems: SCOPES_MAX });
const KeyName = Type.String({ minLength: 1, maxLength: NAME_LENGTH_MAX });

export const KeyCreation = Type.Object({
	name: KeyName,
	scopes: Scopes,
	expires_in: Type.Optional(
		nullable<number>({ type: 'integer', minimum: 1, maximum: KEY_LIFETIME_S_MAX, description: 'Seconds; null: no end' }),
	),
});

export const KeyUpdate = Type.Object({
	name: Type.Optional(KeyName),
	scopes: Type.Optional(Scopes),
	expires_in: Type.Optional(nullable<number>({ type: 'integer', minimum: 1, maximum: KEY_LIFETIME_S_MAX })),
});

export const KeyRotation = Type.Object({
	overlap: Type.Integer({
		minimum: 0,
		maximum: OVERLAP_S_MAX,
		default: OVERLAP_S_DEFAULT,
		description: 'Seconds for which the secret before stays good',
	}),
});

const keyFields = {
	key_id: Type.String(),
	name: KeyName,
	scopes: Scopes,
	created_at: Timestamp,
	expires_at: TimestampOrNull,
	live_secrets: Type.Integer({ description: 'Secrets that are good now: 2 during a rotation' }),
};

export const KeyAnswer = Type.Object(keyFields, { description: 'The key' });

export const NewKeyAnswer = Type.Object(
	{ ...keyFields, api_key: Type.String({ description: 'The credential; it is not shown again' }) },
	{ description: 'The key, with its secret' },
);

export const KeyList = Type.Array(Type.Object({ ...keyFields, last_used_at: TimestampOrNull }), { description: 'The keys' });

export const ScopedTokenRequest = Type.Object({
	scopes: Scopes,
	expires_in: Type.Integer({ minimum: 1, maximum: SCOPED_LIFETIME_S_MAX, default: SCOPED_LIFETIME_S_DEFAULT }),
});

export const ScopedTokenAnswer = Type.Object(
	{ access_token: Type.String(), token_type: Type.Enum(['bearer']), expires_in: Type.Integer() },
	{ description: 'The token' },
);

const Granted = Type.Unsafe<'read' | 'write'>({ type: 'string', enum: ['read', 'write'] });
const grantFields = { username: Type.String(), user_id: Type.String(), permission: Granted };

export const GrantRequest = Type.Object({ username: Type.String({ maxLength: USERNAME_LENGTH_MAX }), permission: Granted });

export const GrantAnswer = Type.Object({ topic_name: Type.String(), ...grantFields }, { description: 'The grant' });

export const GrantList = Type.Object(
	{ topic_name: Type.String(), is_public: Type.Boolean(), permissions: Type.Array(Type.Object(grantFields)) },
	{ description: 'Who but its owner may use the topic' },
);

export const GrantParams = Type.Object({ topic_name: Type.String(), username: Type.String() });

export const GrantQuery = Type.Object({ permission: Type.Optional(Granted) });
