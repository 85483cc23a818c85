/**
 * The device flow (RFC 8628): a program without a browser is given two codes. It polls with the long one; somebody types the short
 * one into a page, signs in there and decides. All state is in records, so that any node can answer any step, and each step that
 * ends something is one compare-and-set: a code is redeemed once, and a decision is made once.
 */

import { hash, randomBytes, randomInt } from 'node:crypto';
import { RelayError } from '@pulsar-relay/protocol/errors';
import type { Clock } from '../ports/clock.ts';
import type { RecordOp, Records, StoredRecord } from '../ports/records.ts';
import type { Account, Accounts } from './accounts.ts';
import { isCurrent } from './credential-version.ts';

/** By the digest of the device code, so that the records are worth nothing to who reads them. */
const REQUEST = 'device-request';
const USER_CODE = 'device-user-code';
/** That somebody has signed in to decide; by the digest of what the page was given to show it. */
const TICKET = 'device-ticket';

/** Without vowels, so that no words come out, and without what is easily mistaken for something else. */
const ALPHABET = 'BCDFGHJKLMNPQRSTVWXZ23456789';
const USER_CODE_HALF = 4;
const USER_CODE_FORM = /^[BCDFGHJKLMNPQRSTVWXZ2-9]{8}$/;
const SECRET_FORM = /^[A-Za-z0-9_-]{43}$/;
const HINT_LENGTH_MAX = 255;
const ATTEMPTS_MAX = 10;
/**
 * Requests that may wait at once: the digests fall evenly into 256 parts by their beginning, and no part gets more than so many.
 * Counting one part is one small read, which no flood makes larger. In a full part a request of the site that has most of them gives way.
 */
const PART_MAX = 64;
const PART_PREFIX_LENGTH = 2;
const SITE_LENGTH = 11;

/** Who decides, and under which credential version they signed in; absent in what relays up to 0.3.0 wrote. */
interface Decider {
	readonly accountId: string;
	readonly cv?: number;
}

/** How a request stands. Once it is redeemed, or its denial was answered, it is gone. */
type RequestState = { readonly status: 'pending' } | ({ readonly status: 'approved' } & Decider) | { readonly status: 'denied' };

interface RequestDocument {
	readonly userCode: string;
	/** A digest of where it is from; requests of earlier versions have none. */
	readonly site?: string;
	readonly clientHint: string | null;
	/** Whether two independent sessions are asked for. */
	readonly pair: boolean;
	readonly expiresAtMs: number;
	readonly lastPolledAtMs: number | null;
	readonly state: RequestState;
}

/** What a device is given. */
export interface DeviceCodes {
	readonly deviceCode: string;
	readonly userCode: string;
	readonly expiresInS: number;
	readonly intervalS: number;
}

/** A request that waits for a decision, as the one who decides sees it. */
export interface PendingDevice {
	readonly deviceId: string;
	readonly userCode: string;
	readonly clientHint: string | null;
}

export type PollOutcome =
	/** Never there, redeemed, or past its time. */
	| { readonly status: 'expired' }
	| { readonly status: 'pending' | 'too_soon' | 'denied' }
	/** Once; then the code is worth nothing. The account is still the one that approved. */
	| { readonly status: 'approved'; readonly account: Account; readonly clientHint: string | null; readonly pair: boolean };

/** `gone`: what was to be decided is not pending any more, or whoever decides has not signed in, or has decided already. */
export type DecisionOutcome = { readonly status: 'decided'; readonly clientHint: string | null } | { readonly status: 'gone' };

export interface DeviceFlowOptions {
	readonly records: Records;
	readonly clock: Clock;
	readonly accounts: Accounts;
	readonly lifetimeS: number;
	readonly intervalS: number;
}

export class DeviceFlow {
	readonly #options: DeviceFlowOptions;

	constructor(options: DeviceFlowOptions) {
		this.#options = options;
	}

	/**
	 * Begins a request. Rejects with `overloaded` when too many of this site wait.
	 *
	 * @param site where the device is, such as its network: all that may be one and the same client
	 */
	async begin(clientHint: string | null, pair: boolean, site = ''): Promise<DeviceCodes> {
		const { records, clock, lifetimeS, intervalS } = this.#options;
		const expiresAtMs = clock.nowMs() + lifetimeS * 1000;
		for (let attempt = 0; attempt < ATTEMPTS_MAX; attempt++) {
			const deviceCode = randomBytes(32).toString('base64url');
			const deviceId = idOf(deviceCode);
			const prefix = deviceId.slice(0, PART_PREFIX_LENGTH);
			const part = await records.list(REQUEST, { prefix, after: null, limit: PART_MAX });
			const document: RequestDocument = {
				userCode: newUserCode(),
				site: hash('sha256', site, 'base64url').slice(0, SITE_LENGTH),
				clientHint: clientHint === null ? null : shownHint(clientHint),
				pair,
				expiresAtMs,
				lastPolledAtMs: null,
				state: { status: 'pending' },
			};
			const gone = part.length < PART_MAX ? [] : giveWay(part, document.site);
			if (gone === null) throw new RelayError('overloaded', 'too many devices wait to be approved');
			const outcome = await records.write([
				...gone,
				{ op: 'put', kind: USER_CODE, id: document.userCode, value: { deviceId }, expected: 'absent', expiresAtMs },
				{ op: 'put', kind: REQUEST, id: deviceId, value: { ...document }, expected: 'absent', expiresAtMs },
			]);
			if (outcome.status === 'ok') return { deviceCode, userCode: document.userCode, expiresInS: lifetimeS, intervalS };
		}
		throw new RelayError('overloaded', 'too many devices wait to be approved');
	}

	/** What has become of a request. */
	async poll(deviceCode: string): Promise<PollOutcome> {
		const { records, clock, intervalS } = this.#options;
		if (!SECRET_FORM.test(deviceCode)) return { status: 'expired' };
		const deviceId = idOf(deviceCode);
		for (let attempt = 0; attempt < ATTEMPTS_MAX; attempt++) {
			const record = await records.get(REQUEST, deviceId);
			if (record === undefined) return { status: 'expired' };
			const document = documentOf(record);
			const { state, lastPolledAtMs } = document;
			const nowMs = clock.nowMs();
			// A clock that was set back, or another node's that is ahead, makes nobody wait until it has caught up.
			const sinceMs = lastPolledAtMs === null || nowMs < lastPolledAtMs ? Number.POSITIVE_INFINITY : nowMs - lastPolledAtMs;
			if (state.status !== 'denied' && sinceMs < intervalS * 1000) return { status: 'too_soon' };
			if (state.status !== 'pending') {
				if (!(await this.#remove(record))) continue;
				if (state.status === 'denied') return { status: 'denied' };
				const account = await this.#accountOf(state, record);
				if (account === null) return { status: 'denied' };
				const { clientHint, pair } = document;
				return { status: 'approved', account, clientHint, pair };
			}
			if (await this.#put(record, { ...document, lastPolledAtMs: nowMs })) return { status: 'pending' };
		}
		throw new RelayError('overloaded', 'the device asks too many times at once');
	}

	/** The pending request of a user code, in whatever way it was typed; null when there is none. */
	async find(userCode: string): Promise<PendingDevice | null> {
		const code = userCodeOf(userCode);
		const entry = code === null ? undefined : await this.#options.records.get(USER_CODE, code);
		if (entry === undefined) return null;
		const deviceId = String(entry.value['deviceId']);
		const record = await this.#options.records.get(REQUEST, deviceId);
		if (record === undefined) return null;
		const { state, userCode: own, clientHint } = documentOf(record);
		return state.status === 'pending' ? { deviceId, userCode: own, clientHint } : null;
	}

	/**
	 * Lets an account that has just signed in decide about a request. What is returned shows that later, once: it is known to the
	 * page of whoever signed in and to nobody else, so that no other page can make that decision in the browser's name.
	 */
	async admit({ deviceId }: PendingDevice, { accountId, cv }: Pick<Account, 'accountId' | 'cv'>): Promise<string> {
		const { records, clock, lifetimeS } = this.#options;
		const ticket = randomBytes(32).toString('base64url');
		const expiresAtMs = clock.nowMs() + lifetimeS * 1000;
		await records.write([
			{ op: 'put', kind: TICKET, id: idOf(ticket), value: { deviceId, accountId, cv }, expected: 'absent', expiresAtMs },
		]);
		return ticket;
	}

	/** Makes the decision that a ticket is for. */
	async decide(ticket: string, decision: 'approve' | 'deny'): Promise<DecisionOutcome> {
		if (!SECRET_FORM.test(ticket)) return { status: 'gone' };
		const found = await this.#options.records.get(TICKET, idOf(ticket));
		if (found === undefined) return { status: 'gone' };
		const { deviceId, ...decider } = found.value as unknown as Decider & { readonly deviceId: string };
		if ((await this.#accountOf(decider, found)) === null) return { status: 'gone' };
		const state: RequestState = decision === 'approve' ? { status: 'approved', ...decider } : { status: 'denied' };
		return this.#decide(deviceId, state, found.id);
	}

	/** Denies a request, for an account that has shown itself in another way. */
	deny({ deviceId }: PendingDevice): Promise<DecisionOutcome> {
		return this.#decide(deviceId, { status: 'denied' }, null);
	}

	async #decide(deviceId: string, state: RequestState, ticketId: string | null): Promise<DecisionOutcome> {
		const { records } = this.#options;
		for (let attempt = 0; attempt < ATTEMPTS_MAX; attempt++) {
			const record = await records.get(REQUEST, deviceId);
			if (record === undefined || documentOf(record).state.status !== 'pending') return { status: 'gone' };
			const document = documentOf(record);
			const { expiresAtMs, userCode, clientHint } = document;
			const outcome = await records.write([
				{ op: 'put', kind: REQUEST, id: deviceId, value: { ...document, state }, expected: record.version, expiresAtMs },
				{ op: 'delete', kind: USER_CODE, id: userCode, expected: 'any' },
				...(ticketId === null ? [] : [{ op: 'delete', kind: TICKET, id: ticketId, expected: 'any' } as const]),
			]);
			// Else somebody else has decided, or the device asked at that moment, which changes nothing about the decision.
			if (outcome.status === 'ok') return { status: 'decided', clientHint };
		}
		throw new RelayError('overloaded', 'the device asks too many times at once');
	}

	/** The account that decides, as it is stored now; null when it is gone, disabled, or has other credentials since. */
	async #accountOf({ accountId, cv }: Decider, { expiresAtMs }: StoredRecord): Promise<Account | null> {
		const account = await this.#options.accounts.read(accountId);
		const issuedAtMs = (expiresAtMs ?? 0) - this.#options.lifetimeS * 1000;
		return account?.isActive === true && isCurrent(account, { cv: cv ?? null, issuedAtMs }) ? account : null;
	}

	async #put(record: StoredRecord, document: RequestDocument): Promise<boolean> {
		const { expiresAtMs } = document;
		const outcome = await this.#options.records.write([
			{ op: 'put', kind: REQUEST, id: record.id, value: { ...document }, expected: record.version, expiresAtMs },
		]);
		return outcome.status === 'ok';
	}

	async #remove(record: StoredRecord): Promise<boolean> {
		const outcome = await this.#options.records.write([{ op: 'delete', kind: REQUEST, id: record.id, expected: record.version }]);
		return outcome.status === 'ok';
	}
}

function documentOf({ value }: StoredRecord): RequestDocument {
	return value as unknown as RequestDocument;
}

/**
 * What makes room for a request of a site in a full part: the oldest one that nobody has decided, of the site with most of them. Null when that is
 * the site itself.
 */
function giveWay(part: readonly StoredRecord[], site: string | undefined): readonly RecordOp[] | null {
	const bySite = Map.groupBy(
		part.filter((record) => documentOf(record).state.status === 'pending'),
		(record) => documentOf(record).site,
	);
	const own = bySite.get(site)?.length ?? 0;
	const most = [...bySite.values()].reduce((a, b) => (b.length > a.length ? b : a), []);
	if (most.length <= Math.max(own, 1)) return null;
	const oldest = most.reduce((a, b) => (documentOf(b).expiresAtMs < documentOf(a).expiresAtMs ? b : a));
	return [
		{ op: 'delete', kind: REQUEST, id: oldest.id, expected: oldest.version },
		{ op: 'delete', kind: USER_CODE, id: documentOf(oldest).userCode, expected: 'any' },
	];
}

function idOf(secret: string): string {
	return hash('sha256', secret, 'hex');
}

function newUserCode(): string {
	const half = () => Array.from({ length: USER_CODE_HALF }, () => ALPHABET[randomInt(ALPHABET.length)]).join('');
	return `${half()}-${half()}`;
}

/** The code as it was given out, from what somebody typed: in lower case, without the dash, with blanks. */
function userCodeOf(typed: string): string | null {
	const bare = typed.slice(0, 32).toUpperCase().replace(/[\s-]/g, '');
	return USER_CODE_FORM.test(bare) ? `${bare.slice(0, USER_CODE_HALF)}-${bare.slice(USER_CODE_HALF)}` : null;
}

/** What a program calls itself, fit to be shown and kept. */
function shownHint(hint: string): string | null {
	const shown = hint
		.slice(0, HINT_LENGTH_MAX)
		.toWellFormed()
		.replace(/[\p{Cc}\p{Cf}\u2028\u2029]/gu, ' ')
		.trim();
	return shown === '' ? null : shown;
}
