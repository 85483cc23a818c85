/** The files of the documentation page: whatever path is asked for, the answer is the file or 404, and nothing is logged as a defect. */

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { type IncomingMessage, request } from 'node:http';
import { text } from 'node:stream/consumers';
import { after, before, describe, test } from 'node:test';
import { type HttpUnderTest, startHttp } from '../support/start-http.ts';

const NOT_FILES = [
	'..',
	'.',
	'',
	'../x',
	'../../../../etc/passwd',
	'..%2fx',
	'%2e%2e/x',
	'%2e%2e%2fx',
	'%252e%252e/x',
	'..\\x',
	'\\..\\x',
	'%5c..%5cx',
	'..%5c..%5cpackage.json',
	'C:%5cwindows',
	'/etc/passwd',
	'%2fetc%2fpasswd',
	'file:///etc/passwd',
	'swagger-ui.css/../x',
	'sub/../swagger-ui.css',
	'swagger-ui.css/',
	'...',
	'.git',
	'*',
	':x',
	';x',
	'%20',
	'%E2%80%AE',
	'a'.repeat(300),
	'a'.repeat(5000),
	'no-such-file.css',
	'..?x=1',
];

/** Asks for a path as it is: `fetch` would resolve the dots in it. */
async function ask(port: number, method: string, path: string): Promise<{ readonly status: number; readonly body: string }> {
	const sent = request({ port, method, path, host: '127.0.0.1', agent: false });
	sent.end();
	const [response] = (await once(sent, 'response')) as [IncomingMessage];
	return { status: response.statusCode ?? 0, body: await text(response) };
}

describe('the documentation', () => {
	let http: HttpUnderTest;
	before(async () => {
		http = await startHttp();
	});
	after(() => http.close());

	for (const prefix of ['/docs/static/', '/docs/%73tatic/', '/%64ocs/static/']) {
		test(`answers 404 to paths below ${prefix} that are no files`, async () => {
			for (const name of NOT_FILES) {
				for (const method of ['GET', 'HEAD']) {
					const { status, body } = await ask(http.port, method, `${prefix}${name}`);
					assert.equal(status, 404, `${method} ${prefix}${name.slice(0, 80)}`);
					if (method === 'GET') assert.equal(JSON.parse(body).error, 'not_found', name.slice(0, 80));
				}
			}
			assert.equal(http.log(), '');
		});
	}

	test('answers 400 to paths that cannot be decoded', async () => {
		for (const name of ['%', '%zz', '%ff', '%00', 'x%00.css']) {
			assert.equal((await ask(http.port, 'GET', `/docs/static/${name}`)).status, 400, name);
		}
		assert.equal(http.log(), '');
	});

	test('has its files, however their names are spelled', async () => {
		for (const name of [
			'swagger-ui.css',
			'swagger%2dui.css',
			'swagger-ui-bundle.js?v=../x',
			'swagger-initializer.js',
			'logo.svg',
		]) {
			assert.equal((await ask(http.port, 'GET', `/docs/static/${name}`)).status, 200, name);
		}
	});
});
