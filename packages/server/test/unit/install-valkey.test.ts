/** What the installation of a Valkey server for the tests reads off a machine, and makes of it. */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { mainArchive, parseCodename, parseSources, renderSource } from '../../../../scripts/install-valkey.ts';

const STANZAS = `Types: deb
# a comment in the middle
URIs: http://mirror.example/debian
Suites: bookworm bookworm-updates
Components: main contrib
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb
URIs: http://mirror.example/debian-security
Suites: bookworm-security
Components: main
Signed-By:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 mDMEY865UxYJ
 -----END PGP PUBLIC KEY BLOCK-----

Types: deb-src
URIs: http://mirror.example/debian
Suites: bookworm
Components: main

Enabled: no
Types: deb
URIs: http://old.example/debian
Suites: bookworm bookworm-updates
Components: main
`;

const LINES = `# deb http://off.example/debian bookworm main
deb [arch=amd64 signed-by=/etc/apt/keyrings/other.gpg] http://other.example/packages bookworm main
deb http://mirror.example/debian bookworm main contrib # a comment
deb http://mirror.example/debian bookworm-updates main
deb-src http://mirror.example/debian bookworm main

deb http://flat.example/ ./
`;

test('sources in stanzas are read, but for those that are off or of sources only', () => {
	assert.deepEqual(parseSources(STANZAS, true), [
		{
			uris: ['http://mirror.example/debian'],
			suites: ['bookworm', 'bookworm-updates'],
			components: ['main', 'contrib'],
			rest: ['Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg'],
		},
		{
			uris: ['http://mirror.example/debian-security'],
			suites: ['bookworm-security'],
			components: ['main'],
			rest: ['Signed-By:\n -----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n mDMEY865UxYJ\n -----END PGP PUBLIC KEY BLOCK-----'],
		},
	]);
});

test('sources in lines are read with the key that signs them', () => {
	const sources = parseSources(LINES, false);
	assert.deepEqual(
		sources.map(({ uris, suites }) => `${uris} ${suites}`),
		[
			'http://other.example/packages bookworm',
			'http://mirror.example/debian bookworm',
			'http://mirror.example/debian bookworm-updates',
			'http://flat.example/ ./',
		],
	);
	assert.deepEqual(sources[0]?.rest, ['Signed-By: /etc/apt/keyrings/other.gpg']);
	assert.deepEqual(sources[1]?.components, ['main', 'contrib']);
});

test('the main archive is told from others, from that of security updates, and from none', () => {
	const [first, security] = parseSources(STANZAS, true);
	assert(first !== undefined && security !== undefined);
	assert.equal(mainArchive([security, first], 'bookworm'), first);
	assert.equal(mainArchive([security], 'bookworm'), undefined);
	assert.equal(mainArchive([first], 'trixie'), undefined);
	assert.deepEqual(mainArchive(parseSources(LINES, false), 'bookworm')?.uris, ['http://mirror.example/debian']);
	const [alone] = parseSources('deb http://mirror.example/debian bookworm main\n', false);
	assert(alone !== undefined);
	assert.equal(mainArchive([alone], 'bookworm'), alone, 'a machine without updates has a main archive too');
});

test('the stanza for the backports has the archive, the key and nothing else of the machine', () => {
	const [source] = parseSources(STANZAS, true);
	assert(source !== undefined);
	assert.equal(
		renderSource(source, ['bookworm', 'bookworm-backports']),
		`Types: deb
URIs: http://mirror.example/debian
Suites: bookworm bookworm-backports
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg
`,
	);
});

test('the name of the release is read from os-release', () => {
	assert.equal(parseCodename('ID=debian\nVERSION_CODENAME=bookworm\nVERSION_ID="12"\n'), 'bookworm');
	assert.equal(parseCodename('ID=ubuntu\nVERSION_CODENAME="noble"\n'), 'noble');
	assert.equal(parseCodename('ID=arch\n'), undefined);
});
