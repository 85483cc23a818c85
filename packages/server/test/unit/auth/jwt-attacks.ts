/** Tokens that somebody made up, stretched or stole, signed, where they are, with the right key or nearly: none may get in. */

import { generateKeyPairSync, sign } from 'node:crypto';
import { base64url, forge, SECRET } from './world.ts';

export const HEADER = { alg: 'HS256', typ: 'JWT' };
const { publicKey, privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
const PUBLIC_PEM = publicKey.export({ type: 'spki', format: 'pem' }).toString();

export interface Claims {
	readonly sub: string;
	readonly username: string;
	readonly permissions: readonly string[];
	readonly exp: number;
	readonly iat: number;
	readonly jti: string;
}

export const without = (claims: Claims, name: keyof Claims) =>
	Object.fromEntries(Object.entries(claims).filter(([key]) => key !== name));
const unsigned = (header: unknown, claims: unknown) => `${base64url(header)}.${base64url(claims)}.`;

export const ATTACKS: readonly (readonly [title: string, token: (claims: Claims) => string])[] = [
	['alg none', (claims) => unsigned({ alg: 'none', typ: 'JWT' }, claims)],
	['alg None', (claims) => unsigned({ alg: 'None' }, claims)],
	['alg NONE', (claims) => unsigned({ alg: 'NONE' }, claims)],
	['alg nOnE, with a signature', (claims) => forge({ alg: 'nOnE' }, claims)],
	['no alg', (claims) => forge({ typ: 'JWT' }, claims)],
	['an empty alg', (claims) => forge({ alg: '' }, claims)],
	['an alg that is a list', (claims) => forge({ alg: ['HS256'] }, claims)],
	['an alg in lower case', (claims) => forge({ alg: 'hs256' }, claims)],
	['HS384 with the right key', (claims) => forge({ alg: 'HS384', typ: 'JWT' }, claims, SECRET, 'sha384')],
	['HS512 with the right key', (claims) => forge({ alg: 'HS512', typ: 'JWT' }, claims, SECRET, 'sha512')],
	['HS256 said, SHA-512 signed', (claims) => forge(HEADER, claims, SECRET, 'sha512')],
	['HS256 with a public key as the secret', (claims) => forge(HEADER, claims, PUBLIC_PEM)],
	['HS256 with a public key after blanks', (claims) => forge(HEADER, claims, `  \n${PUBLIC_PEM}`)],
	[
		'RS256',
		(claims) => {
			const signed = `${base64url({ alg: 'RS256', typ: 'JWT' })}.${base64url(claims)}`;
			return `${signed}.${sign('sha256', Buffer.from(signed), privateKey).toString('base64url')}`;
		},
	],
	[
		'ES256 with zeros for a signature',
		(claims) => `${unsigned({ alg: 'ES256' }, claims)}${Buffer.alloc(64).toString('base64url')}`,
	],
	['an empty secret', (claims) => forge(HEADER, claims, '')],
	['the well-known secret of the earlier server', (claims) => forge(HEADER, claims, 'your-secret-key-here-change-in-production')],
	['the secret cut off', (claims) => forge(HEADER, claims, SECRET.slice(0, -1))],
	['an empty signature', (claims) => unsigned(HEADER, claims)],
	['no signature', (claims) => `${base64url(HEADER)}.${base64url(claims)}`],
	['a signature of zeros', (claims) => `${unsigned(HEADER, claims)}${Buffer.alloc(32).toString('base64url')}`],
	['a signature cut off', (claims) => forge(HEADER, claims).slice(0, -1)],
	['a signature in another spelling of its last bits', (claims) => respell(forge(HEADER, claims))],
	['a signature in standard base64', (claims) => `${forge(HEADER, claims)}=`],
	['a jwk in the header', (claims) => forge({ ...HEADER, jwk: { kty: 'oct', k: base64url('mine') } }, claims, 'mine')],
	['a jwk in the header of a token that is signed right', (claims) => forge({ ...HEADER, jwk: { kty: 'oct', k: 'x' } }, claims)],
	['a jku', (claims) => forge({ ...HEADER, jku: 'http://127.0.0.1:1/keys' }, claims)],
	['an x5u', (claims) => forge({ ...HEADER, x5u: 'http://127.0.0.1:1/cert' }, claims)],
	['an x5c', (claims) => forge({ ...HEADER, x5c: ['MIIB'] }, claims)],
	['a kid that is a path', (claims) => forge({ ...HEADER, kid: '../../dev/null' }, claims, '')],
	['a kid that is SQL', (claims) => forge({ ...HEADER, kid: "' UNION SELECT 'x" }, claims)],
	['a kid that is __proto__', (claims) => forge({ ...HEADER, kid: '__proto__' }, claims)],
	['an unknown critical extension', (claims) => forge({ ...HEADER, crit: ['x'], x: 1 }, claims)],
	['an unencoded payload', (claims) => forge({ ...HEADER, b64: false, crit: ['b64'] }, claims)],
	['a compressed payload', (claims) => forge({ ...HEADER, zip: 'DEF' }, claims)],
	['another type', (claims) => forge({ alg: 'HS256', typ: 'at+jwt' }, claims)],
	['the type of scoped tokens, with the key of access tokens', (claims) => forge({ alg: 'HS256', typ: 'scoped+jwt' }, claims)],
	['an encrypted token', () => `${base64url({ alg: 'dir', enc: 'A256GCM' })}..AAAA.AAAA.AAAA`],
	['a header that is a list', (claims) => forge([HEADER], claims)],
	['a header that is no JSON', (claims) => forge('{"alg":"HS256"', claims)],
	['claims that are no JSON', () => forge(HEADER, '{"sub":')],
	['claims that are a list', (claims) => forge(HEADER, [claims])],
	['claims that are null', () => forge(HEADER, null)],
	['claims nested a thousand deep', () => forge(HEADER, `${'['.repeat(1000)}${']'.repeat(1000)}`)],
	['exp gone by', (claims) => forge(HEADER, { ...claims, exp: claims.iat })],
	['exp as text', (claims) => forge(HEADER, { ...claims, exp: String(claims.exp) })],
	['exp with a fraction', (claims) => forge(HEADER, { ...claims, exp: claims.exp + 0.5 })],
	['exp beyond all numbers', (claims) => forge(HEADER, JSON.stringify(claims).replace(String(claims.exp), '1e400'))],
	['exp below zero', (claims) => forge(HEADER, { ...claims, exp: -1 })],
	['exp null', (claims) => forge(HEADER, { ...claims, exp: null })],
	['exp a list', (claims) => forge(HEADER, { ...claims, exp: [claims.exp] })],
	['no exp', (claims) => forge(HEADER, without(claims, 'exp'))],
	['no iat', (claims) => forge(HEADER, without(claims, 'iat'))],
	['iat in the future', (claims) => forge(HEADER, { ...claims, iat: claims.iat + 60 })],
	['nbf in the future', (claims) => forge(HEADER, { ...claims, nbf: claims.iat + 60 })],
	['nbf as text', (claims) => forge(HEADER, { ...claims, nbf: '0' })],
	['no sub', (claims) => forge(HEADER, without(claims, 'sub'))],
	['an empty sub', (claims) => forge(HEADER, { ...claims, sub: '' })],
	['sub a list', (claims) => forge(HEADER, { ...claims, sub: [claims.sub] })],
	['no username', (claims) => forge(HEADER, without(claims, 'username'))],
	['sid a number', (claims) => forge(HEADER, { ...claims, sid: 1 })],
	['sid empty', (claims) => forge(HEADER, { ...claims, sid: '' })],
	['jti a number', (claims) => forge(HEADER, { ...claims, jti: 1 })],
	['jti empty', (claims) => forge(HEADER, { ...claims, jti: '' })],
	['jti of a kilobyte', (claims) => forge(HEADER, { ...claims, jti: 'a'.repeat(1024) })],
	['claims changed under a good signature', (claims) => swapClaims(forge(HEADER, claims), { ...claims, sub: 'somebody' })],
	['two tokens in one', (claims) => `${forge(HEADER, claims)}.${forge(HEADER, claims)}`],
	['a token and a comma', (claims) => `${forge(HEADER, claims)},${forge(HEADER, claims)}`],
	['a megabyte', (claims) => forge(HEADER, { ...claims, filler: 'x'.repeat(1024 * 1024) })],
	['dots', () => '..'],
	['nothing', () => ''],
	['a NUL', (claims) => `${forge(HEADER, claims)}\0`],
	['not ASCII', (claims) => forge(HEADER, claims).replace('.', '．')],
];

/** The same signature, its last character with other spare bits. */
function respell(token: string): string {
	const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_';
	return `${token.slice(0, -1)}${alphabet[alphabet.indexOf(token.at(-1) ?? '') ^ 1]}`;
}

function swapClaims(token: string, claims: unknown): string {
	const [header, , signature] = token.split('.');
	return `${header}.${base64url(claims)}.${signature}`;
}
