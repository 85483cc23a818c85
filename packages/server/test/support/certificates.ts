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
	await openssl(['req', ...CURVE, '-subj', '/CN=localhost', '-keyout', at('server.key'), '-out', at('server.csr')]);
	await writeFile(at('names'), 'subjectAltName=DNS:localhost,IP:127.0.0.1\n');
	await openssl([
		...['x509', '-req', '-in', at('server.csr'), '-days', DAYS, '-extfile', at('names')],
		...['-CA', at('ca.crt'), '-CAkey', at('ca.key'), '-CAcreateserial', '-out', at('server.crt')],
	]);
	return { ca: at('ca.crt'), certificate: at('server.crt'), key: at('server.key') };
}
