/** What the earlier server kept, as this relay keeps it; or why it cannot be understood. */

import { isUtf8 } from 'node:buffer';
import { scanDocument } from '@pulsar-relay/protocol/json-scan';
import { type MessageId, parseMessageId } from '@pulsar-relay/protocol/message-id';
import { topicNameProblem } from '@pulsar-relay/protocol/topic-name';
import type { AdoptedAccount } from '../auth/accounts.ts';
import { type Identity, identityOf } from '../auth/federated-accounts.ts';
import { isUsableHash } from '../auth/passwords.ts';
import { PERMISSIONS, type Permission } from '../auth/principal.ts';
import type { AdoptedSession } from '../auth/refresh-tokens.ts';
import { USERNAME_LENGTH_MAX, USERNAME_LENGTH_MIN } from '../auth/usernames.ts';
import type { NewMessage } from '../log/block.ts';
import type { EarlierHash, EarlierMessage, EarlierRecord, EarlierTopic } from '../ports/earlier-data.ts';

export type Decoded<T> = { readonly status: 'ok'; readonly value: T } | { readonly status: 'malformed'; readonly why: string };

const USER_ID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/;
const SECRET_HASH = /^[0-9a-f]{64}$/;
const JTI = /^[A-Za-z0-9-]{1,64}$/;
/** Levels of JSON that a payload may have: the most that a relay can be set to take. */
const DEPTH_MAX = 4096;
const OPEN_OBJECT = 0x7b;
/** Identities of one account; what it takes to write them must fit one write. */
const IDENTITIES_MAX = 20;

/** An account, and by what names issuers know it. */
export interface DecodedAccount {
	readonly account: AdoptedAccount;
	readonly identities: readonly Identity[];
}

export function decodeAccount({ id, fields }: EarlierRecord): Decoded<DecodedAccount> {
	if (fields === null) return malformed('it is of another type of value');
	const username = fields.get('username') ?? '';
	const isActive = fields.get('is_active');
	const createdAtMs = timeOf(fields, 'created_at');
	const permissions = permissionsOf(fields.get('permissions'));
	const passwordHash = textOf(fields, 'hashed_password');
	const identities = identitiesOf(fields.get('federated_identities'));
	if (!USER_ID.test(id) || fields.get('user_id') !== id) return malformed('its id is none');
	if (username.length < USERNAME_LENGTH_MIN || username.length > USERNAME_LENGTH_MAX)
		return malformed(`its name does not have ${USERNAME_LENGTH_MIN} to ${USERNAME_LENGTH_MAX} characters`);
	if (isActive !== 'True' && isActive !== 'False') return malformed('whether it is active is not said');
	if (permissions === null) return malformed('its permissions are not understood');
	if (identities === null) return malformed('its identities are not understood');
	if (createdAtMs === null) return malformed('its time of creation is none');
	if (passwordHash !== null && !isUsableHash(passwordHash))
		return malformed('its password hash is no Argon2id that can be checked');
	const email = textOf(fields, 'email');
	const account = { accountId: id, username, email, passwordHash, isActive: isActive === 'True', permissions, createdAtMs };
	return ok({ account, identities });
}

/** A session that can still be used; null when it has ended. */
export function decodeSession({ id, fields }: EarlierRecord, accountId: string, nowMs: number): Decoded<AdoptedSession | null> {
	if (fields === null) return malformed('it is of another type of value');
	if (isRevoked(fields)) return ok(null);
	const secretHash = fields.get('secret_hash') ?? '';
	const issuedAtMs = timeOf(fields, 'issued_at');
	const expiresAtMs = timeOf(fields, 'expires_at');
	if (!JTI.test(id) || !SECRET_HASH.test(secretHash)) return malformed('it has no secret');
	if (fields.get('user_id') !== accountId) return malformed('it is of another account');
	if (issuedAtMs === null || expiresAtMs === null) return malformed('its times are none');
	if (expiresAtMs <= nowMs) return ok(null);
	const clientHint = textOf(fields, 'client_hint');
	const lastUsedAtMs = timeOf(fields, 'last_used_at');
	const isSuccessor = textOf(fields, 'parent_jti') !== null;
	return ok({ jti: id, accountId, secretHash, issuedAtMs, expiresAtMs, lastUsedAtMs, clientHint, isSuccessor });
}

/** Whether a session that was live has ended there: by a refresh, which began the next one, or for good. */
export function isRevoked(fields: EarlierHash | null): boolean {
	return !['', '0'].includes(fields?.get('revoked') ?? '');
}

/** A topic beside its messages. */
export interface DecodedTopic {
	readonly ownerId: string;
	readonly description: string | null;
	readonly createdAtMs: number;
	readonly isPublic: boolean;
	readonly allowedAccountIds: readonly string[];
}

export function decodeTopic({ id, fields, allowedAccountIds }: EarlierTopic): Decoded<DecodedTopic> {
	const [ownerId = '', name = ''] = id.split('/');
	const problem = topicNameProblem(name);
	if (fields === null) return malformed('it is of another type of value');
	if (!USER_ID.test(ownerId)) return malformed('its owner is none');
	if (problem !== undefined) return malformed(`this relay allows no such name: ${problem}`);
	const createdAtMs = timeOf(fields, 'created_at');
	if (createdAtMs === null) return malformed('its time of creation is none');
	const isPublic = fields.get('is_public') === 'True';
	return ok({ ownerId, description: textOf(fields, 'description'), createdAtMs, isPublic, allowedAccountIds });
}

/** A message and the id it had. */
export interface DecodedMessage {
	readonly id: MessageId;
	readonly message: NewMessage;
}

export function decodeMessage({ id: idText, payload, metadata }: EarlierMessage): Decoded<DecodedMessage> {
	const id = parseMessageId(idText);
	if (id === undefined) return malformed('its id is none that this relay could give');
	if (payload === null) return malformed('it has no payload');
	if (!isJson(payload)) return malformed('its payload is no JSON that can be delivered');
	if (metadata !== null && !isTextMap(metadata)) return malformed('its metadata is no JSON object of texts');
	return ok({ id, message: { payload, metadata, expiresAtMs: 0 } });
}

/** Whether it is what a publish could carry: the earlier server also stored NaN and halves of surrogate pairs. */
function isJson(bytes: Uint8Array): boolean {
	return isUtf8(bytes) && scanDocument(bytes, 0, bytes.byteLength, DEPTH_MAX).status === 'ok';
}

function isTextMap(bytes: Uint8Array): boolean {
	if (!isJson(bytes) || bytes[0] !== OPEN_OBJECT) return false;
	return Object.values(JSON.parse(Buffer.from(bytes).toString())).every((value) => typeof value === 'string');
}

function permissionsOf(text: string | undefined): readonly Permission[] | null {
	const listed = parseJson(text ?? '[]');
	if (!Array.isArray(listed)) return null;
	const known = PERMISSIONS.filter((permission) => listed.includes(permission));
	return listed.every((one) => PERMISSIONS.some((permission) => permission === one)) ? known : null;
}

function identitiesOf(text: string | undefined): readonly Identity[] | null {
	const listed = parseJson(text ?? '[]');
	if (!Array.isArray(listed) || listed.length > IDENTITIES_MAX) return null;
	const identities = listed.map((one: unknown) => {
		const { issuer, sub } = (typeof one === 'object' && one !== null ? one : {}) as { issuer?: unknown; sub?: unknown };
		return identityOf(issuer, sub);
	});
	return identities.includes(null) ? null : identities.filter((identity) => identity !== null);
}

function parseJson(text: string): unknown {
	try {
		return JSON.parse(text);
	} catch {
		// Told by the caller as what it is: not understood.
		return undefined;
	}
}

/** The earlier server writes an empty text where there is none. */
function textOf(fields: EarlierHash, name: string): string | null {
	const text = fields.get(name) ?? '';
	return text === '' ? null : text;
}

/** Unix ms of an ISO time; one without a zone is UTC. */
function timeOf(fields: EarlierHash, name: string): number | null {
	const text = fields.get(name) ?? '';
	const ms = Date.parse(/(Z|[+-]\d\d:?\d\d)$/.test(text) ? text : `${text}Z`);
	return Number.isNaN(ms) ? null : ms;
}

function ok<T>(value: T): Decoded<T> {
	return { status: 'ok', value };
}

function malformed(why: string): { readonly status: 'malformed'; readonly why: string } {
	return { status: 'malformed', why };
}
