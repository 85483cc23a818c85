/**
 * Why a server cannot be reached, for the one line at the start. The library says "timed out" of a port that nothing listens on, of a
 * name that does not exist and of a certificate that it does not trust.
 */

import { connect as connectTcp, type Socket } from 'node:net';
import { connect as connectTls } from 'node:tls';
import type { ServerAddress, ServerOptions } from './connection.ts';

const TIMEOUT_MS = 1000;
/** The first byte of an alert of TLS. */
const TLS_ALERT = 0x15;

/** One clause about the server, or null when nothing is wrong that this can see. */
export function whyUnreachable(address: ServerAddress, tls: ServerOptions['tls']): Promise<string | null> {
	return new Promise((resolve) => {
		const socket = open(address, tls);
		const end = (reason: string | null) => {
			socket.destroy();
			resolve(reason);
		};
		// A server that expects no TLS may wait for the end of what it takes for a command.
		socket.setTimeout(TIMEOUT_MS, () =>
			end(tls === null ? 'nothing answers there' : 'nothing answers there over TLS; see PULSAR_VALKEY_USE_TLS'),
		);
		socket.once('error', (error) => end(reasonOfError(error, tls !== null)));
		if (tls !== null) {
			socket.once('secureConnect', () => end(null));
			return;
		}
		socket.once('connect', () => socket.write('PING\r\n'));
		socket.once('data', (data: Buffer) => end(data[0] === TLS_ALERT ? EXPECTS_TLS : null));
		socket.once('end', () => end(EXPECTS_TLS));
	});
}

const EXPECTS_TLS = 'it closes connections without TLS; see PULSAR_VALKEY_USE_TLS';

function open({ host, port }: ServerAddress, tls: ServerOptions['tls']): Socket {
	return tls === null ? connectTcp({ host, port }) : connectTls({ host, port, ...(tls.ca === null ? {} : { ca: tls.ca }) });
}

function reasonOfError(error: Error, secure: boolean): string | null {
	const code = 'code' in error ? String(error.code) : '';
	if (code === 'ECONNREFUSED') return 'nothing listens there';
	if (code === 'ENOTFOUND' || code === 'EAI_AGAIN') return 'there is no such host';
	if (!secure) return code === 'ECONNRESET' ? EXPECTS_TLS : null;
	// What the verification of a certificate fails with, among others UNABLE_TO_GET_ISSUER_CERT and ERR_TLS_CERT_ALTNAME_INVALID.
	if (/CERT|VERIFY/.test(code)) return `its certificate is not trusted (${code}); see PULSAR_VALKEY_CA_PATH`;
	return /SSL|TLS|EPROTO|ECONNRESET/.test(code) ? 'it does not speak TLS; see PULSAR_VALKEY_USE_TLS' : null;
}
