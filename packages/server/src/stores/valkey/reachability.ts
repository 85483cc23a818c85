/**
 * Why a server cannot be reached, for the one line at the start. The library says "timed out" of a port that nothing listens on, of a
 * name that does not exist and of a certificate that it does not trust.
 */

import { connect as connectTcp, isIP, type Socket } from 'node:net';
import { connect as connectTls } from 'node:tls';
import { NO_SUCH_HOST, NOTHING_ANSWERS, NOTHING_LISTENS } from './failure.ts';
import type { ServerAddress, ServerTls } from './glide.ts';

const TIMEOUT_MS = 1000;
/** The first byte of an alert of TLS. */
const TLS_ALERT = 0x15;

/** One clause about the server, or null when nothing is wrong that this can see. */
export function whyUnreachable(address: ServerAddress, tls: ServerTls | null): Promise<string | null> {
	return new Promise((resolve) => {
		const end = (reason: string | null) => {
			socket?.destroy();
			resolve(reason);
		};
		let socket: Socket | undefined;
		try {
			socket = open(address, tls);
		} catch (error) {
			// The files of a certificate that nothing can be made of.
			end(reasonOfError(error, address, tls));
			return;
		}
		// A server that expects no TLS may wait for the end of what it takes for a command.
		socket.setTimeout(TIMEOUT_MS, () =>
			end(tls === null ? NOTHING_ANSWERS : 'nothing answers there over TLS; see PULSAR_VALKEY_USE_TLS'),
		);
		socket.once('error', (error) => end(reasonOfError(error, address, tls)));
		// Over TLS 1.3 a server refuses a certificate, or the lack of one, only after the client believes to be connected.
		socket.once(tls === null ? 'connect' : 'secureConnect', () => socket.write('PING\r\n'));
		socket.once('data', (data: Buffer) => end(tls === null && data[0] === TLS_ALERT ? EXPECTS_TLS : null));
		socket.once('end', () => end(tls === null ? EXPECTS_TLS : null));
	});
}

const EXPECTS_TLS = 'it closes connections without TLS; see PULSAR_VALKEY_USE_TLS';

function open({ host, port }: ServerAddress, tls: ServerTls | null): Socket {
	if (tls === null) return connectTcp({ host, port });
	return connectTls({
		host,
		port,
		...(isIP(host) === 0 ? { servername: host } : {}),
		...(tls.ca === null ? {} : { ca: tls.ca }),
		...(tls.own === null ? {} : { cert: tls.own.certificate, key: tls.own.key }),
	});
}

/** What an error of OpenSSL, or of the check of a certificate, means. The first that fits counts. */
const TLS_REASONS: readonly (readonly [RegExp, string])[] = [
	[/KEY_VALUES_MISMATCH/, 'PULSAR_VALKEY_TLS_KEY is not the key of PULSAR_VALKEY_TLS_CERT'],
	[
		/PEM|NO_START_LINE|ASN1|DECODER|UNSUPPORTED/,
		'the files of PULSAR_VALKEY_CA_PATH, PULSAR_VALKEY_TLS_CERT and PULSAR_VALKEY_TLS_KEY must be PEM, the key without a passphrase',
	],
	[/ALERT_CERTIFICATE_REQUIRED|ALERT_HANDSHAKE_FAILURE/, 'it asks for a certificate of the client; see PULSAR_VALKEY_TLS_CERT'],
	[
		/ALERT_(UNKNOWN_CA|BAD_CERTIFICATE|CERTIFICATE_\w+|UNSUPPORTED_CERTIFICATE|ACCESS_DENIED)/,
		'it does not accept the certificate of PULSAR_VALKEY_TLS_CERT',
	],
];

function reasonOfError(error: unknown, { host }: ServerAddress, tls: ServerTls | null): string | null {
	const code = error instanceof Error && 'code' in error ? String(error.code) : '';
	if (code === 'ECONNREFUSED') return NOTHING_LISTENS;
	if (code === 'ENOTFOUND' || code === 'EAI_AGAIN') return NO_SUCH_HOST;
	if (tls === null) return code === 'ECONNRESET' ? EXPECTS_TLS : null;
	if (code === 'ERR_TLS_CERT_ALTNAME_INVALID') {
		const names = error instanceof Error && 'cert' in error ? namesOf(error.cert) : '';
		return `its certificate is for ${names === '' ? 'other names' : names}, not for ${host}`;
	}
	const reason = TLS_REASONS.find(([pattern]) => pattern.test(code))?.[1];
	if (reason !== undefined) return reason;
	if (code === 'CERT_HAS_EXPIRED') return 'its certificate has expired';
	if (code === 'CERT_NOT_YET_VALID') return 'its certificate is not valid yet; look at the clocks';
	// What the verification of a certificate fails with, such as UNABLE_TO_GET_ISSUER_CERT.
	if (/CERT|VERIFY/.test(code)) return `its certificate is not trusted (${code}); see PULSAR_VALKEY_CA_PATH`;
	return /SSL|TLS|EPROTO|ECONNRESET/.test(code) ? 'it does not speak TLS; see PULSAR_VALKEY_USE_TLS' : null;
}

/** `DNS:a, IP Address:1.2.3.4`, as the certificate has them. */
function namesOf(certificate: unknown): string {
	if (typeof certificate !== 'object' || certificate === null || !('subjectaltname' in certificate)) return '';
	return String(certificate.subjectaltname);
}
