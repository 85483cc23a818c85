/** The token by which metrics are read: for scrapers, which have no account. */

import { createHash, timingSafeEqual } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import { RelayError } from '@pulsar-relay/protocol/errors';
import { bearerOf } from '../../auth/authenticate.ts';

export class MetricsToken {
	readonly #digest: Buffer;

	constructor(token: string) {
		this.#digest = digestOf(token);
	}

	/** Why a request may not read the metrics by what it shows, or null. Takes the same time whatever that is. */
	refusal({ headers }: IncomingMessage): RelayError | null {
		let credential: string;
		try {
			credential = bearerOf(headers.authorization);
		} catch (thrown) {
			return RelayError.from(thrown);
		}
		if (timingSafeEqual(digestOf(credential), this.#digest)) return null;
		return new RelayError('invalid_credentials', 'the token for metrics is wrong', { detail: 'Invalid or expired token' });
	}
}

function digestOf(text: string): Buffer {
	return createHash('sha256').update(text).digest();
}
