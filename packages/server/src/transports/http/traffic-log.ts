/**
 * What the log says, at debug, of requests and connections: by whom, from where, what and why. At other levels nothing is looked at or
 * formatted. What a client has sent is cut short, and no credential is among it.
 */

import type { IncomingMessage } from 'node:http';
import type { Duplex } from 'node:stream';
import type { RelayError } from '@pulsar-relay/protocol/errors';
import type { Principal } from '../../auth/principal.ts';
import type { Logger } from '../../ops/logger.ts';
import { printable } from '../../ops/printable.ts';
import type { AddressOf } from './client-address.ts';

/** A connection that has ended. */
export interface EndedConnection {
	readonly transport: 'websocket' | 'sse';
	readonly principal: Principal;
	readonly client: string;
	readonly durationMs: number;
	/** Topics that were followed at the end. */
	readonly topics: number;
	readonly messagesOut: number;
	readonly socket: Duplex;
	/** What only one of the transports has. */
	readonly more: Readonly<Record<string, unknown>>;
}

export class TrafficLog {
	readonly #logger: Logger;
	readonly #clientOf: AddressOf;

	/** @param clientOf the address of a client, whole */
	constructor(logger: Logger, clientOf: AddressOf) {
		this.#logger = logger;
		this.#clientOf = clientOf;
	}

	/** Whether anything is logged. */
	get isOn(): boolean {
		return this.#logger.isLevelEnabled('debug');
	}

	clientOf(request: IncomingMessage): string {
		return printable(this.#clientOf(request));
	}

	/** A request was answered, or its answer has ended. */
	answered(request: IncomingMessage, principal: Principal | null, fields: Readonly<Record<string, unknown>>): void {
		if (this.isOn) this.#logger.debug({ ...fields, ...who(principal), client: this.clientOf(request) }, 'request');
	}

	/** A connection has ended. */
	ended({ transport, principal, client, durationMs, topics, messagesOut, socket, more }: EndedConnection): void {
		if (!this.isOn) return;
		const fields = {
			transport,
			...who(principal),
			client,
			ms: Math.round(durationMs),
			topics,
			...more,
			messages_out: messagesOut,
			...bytesOf(socket),
		};
		this.#logger.debug(fields, 'a connection has ended');
	}

	/** An upgrade was refused. */
	upgradeRefused(request: IncomingMessage, refusal: RelayError): void {
		if (!this.isOn) return;
		const path = printable((request.url ?? '').split('?', 1)[0] ?? '');
		this.#logger.debug({ ...why(refusal), path, client: this.clientOf(request) }, 'an upgrade was refused');
	}

	/** A frame was refused, or a connection for what it sent. */
	frameRefused(sessionId: string, principal: Principal, refusal: RelayError, frameType: string | null): void {
		if (!this.isOn) return;
		const frame = frameType === null ? {} : { frame: printable(frameType, 40) };
		this.#logger.debug({ session_id: sessionId, ...who(principal), ...frame, ...why(refusal) }, 'a frame was refused');
	}
}

/** The fields that say why something was refused. */
export function why({ code, message, cause }: RelayError): Readonly<Record<string, unknown>> {
	// A cause that is a text says which check failed; others are errors, and logged where they are defects.
	return { code, problem: printable(message), ...(typeof cause === 'string' ? { check: cause } : {}) };
}

function who(principal: Principal | null): Readonly<Record<string, string>> {
	if (principal === null || principal.kind === 'open') return {};
	const { accountId, username } = principal;
	const account = { account_id: accountId, username: printable(username) };
	switch (principal.kind) {
		case 'account':
			return account;
		case 'apiKey':
			return { ...account, key_id: principal.keyId };
		case 'scoped':
			return {
				...account,
				token_id: principal.jti,
				...(principal.mintedBy.kind === 'key' ? { key_id: principal.mintedBy.keyId } : {}),
			};
	}
}

function bytesOf(socket: Duplex): Readonly<Record<string, unknown>> {
	if (!('bytesRead' in socket && 'bytesWritten' in socket)) return {};
	return { bytes_in: socket.bytesRead, bytes_out: socket.bytesWritten };
}
