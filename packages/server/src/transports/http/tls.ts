/** Certificates: read and tried out before they are used, at the start and when they are to be read again. */

import { X509Certificate } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createSecureContext, type SecureContextOptions } from 'node:tls';

/** Paths of PEM files. */
export interface TlsFiles {
	/** The server's certificate, and those between it and the authority. */
	readonly certificate: string;
	readonly key: string;
	/** The authorities that sign clients' certificates; null when clients need none. */
	readonly clientCa: string | null;
}

/** What the server takes. */
export type TlsCredentials = Pick<SecureContextOptions, 'cert' | 'key' | 'ca' | 'minVersion'>;

/** Reads the files. Throws an error of one line when they are of no use. */
export function readTls({ certificate, key, clientCa }: TlsFiles): TlsCredentials {
	const cert = readPem(certificate);
	checkCertificates(certificate, cert);
	const ca = clientCa === null ? undefined : readPem(clientCa);
	if (clientCa !== null && ca !== undefined) checkCertificates(clientCa, ca);
	const credentials = { cert, key: readPem(key), minVersion: 'TLSv1.2', ...(ca === undefined ? {} : { ca }) } as const;
	try {
		createSecureContext(credentials);
	} catch (error) {
		throw new Error(`${key} is not the private key of ${certificate} (${reasonOf(error)})`);
	}
	return credentials;
}

function readPem(path: string): Buffer {
	try {
		return readFileSync(path);
	} catch (error) {
		throw new Error(`${path} cannot be read (${error instanceof Error && 'code' in error ? error.code : 'unknown'})`);
	}
}

function checkCertificates(path: string, pem: Buffer): void {
	try {
		new X509Certificate(pem);
	} catch (error) {
		throw new Error(`${path} is not a certificate in PEM (${reasonOf(error)})`);
	}
}

function reasonOf(error: unknown): string {
	return error instanceof Error ? (error.message.split('\n', 1)[0] ?? '') : String(error);
}
