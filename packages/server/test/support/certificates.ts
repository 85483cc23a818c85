/** Certificates for tests over TLS, made when a test wants them: none is in the repository to run out. */

import { execFile, execFileSync } from 'node:child_process';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';

/** Paths of PEM files. */
export interface Certificates {
	/** Of the authority that signed the server's certificate. */
	readonly ca: string;
	/** Of the server, for 127.0.0.1 and localhost. */
	readonly certificate: string;
	readonly key: string;
	/** Of a client, by the same authority. */
	readonly clientCertificate: string;
	readonly clientKey: string;
}

const CURVE = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-noenc'];
const DAYS = '2';

/** Why tests over TLS are to be skipped, or null. Never on CI. */
export function opensslUnavailable(): string | null {
	if (process.env['CI'] !== undefined) return null;
	try {
		execFileSync('openssl', ['version'], { stdio: 'ignore' });
		return null;
	} catch {
		return 'no openssl on this machine (apt-get install openssl)';
	}
}

/** Makes an authority and a server's certificate in a directory, with the machine's openssl. */
export async function makeCertificates(directory: string): Promise<Certificates> {
	const at = (name: string) => join(directory, name);
	const openssl = (args: readonly string[]) => promisify(execFile)('openssl', [...args]);
	await openssl([
		...['req', '-x509', ...CURVE, '-days', DAYS, '-subj', '/CN=test authority'],
		...['-keyout', at('ca.key'), '-out', at('ca.crt')],
	]);
	const sign = async (name: string, extension: string) => {
		await openssl(['req', ...CURVE, '-subj', `/CN=${name}`, '-keyout', at(`${name}.key`), '-out', at(`${name}.csr`)]);
		await writeFile(at(`${name}.extension`), `${extension}\n`);
		await openssl([
			...['x509', '-req', '-in', at(`${name}.csr`), '-days', DAYS, '-extfile', at(`${name}.extension`)],
			...['-CA', at('ca.crt'), '-CAkey', at('ca.key'), '-CAcreateserial', '-out', at(`${name}.crt`)],
		]);
		return { certificate: at(`${name}.crt`), key: at(`${name}.key`) };
	};
	const server = await sign('server', 'subjectAltName=DNS:localhost,IP:127.0.0.1');
	const client = await sign('client', 'extendedKeyUsage=clientAuth');
	return { ca: at('ca.crt'), ...server, clientCertificate: client.certificate, clientKey: client.key };
}
