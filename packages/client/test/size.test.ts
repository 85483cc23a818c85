/** What the client costs a page that imports it. */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { gzipSync } from 'node:zlib';
import { rolldown } from 'rolldown';

async function gzippedBytes(entry: string): Promise<number> {
	const build = await rolldown({
		input: fileURLToPath(new URL(entry, import.meta.url)),
		platform: 'browser',
		external: ['react'],
	});
	const { output } = await build.generate({ format: 'esm', minify: true });
	assert.equal(output.length, 1);
	return gzipSync(output[0].code, { level: 9 }).byteLength;
}

test('the whole client is at most 11 KiB, minified and compressed', async (t) => {
	const bytes = await gzippedBytes('../src/index.ts');
	t.diagnostic(`${bytes} bytes`);
	assert(bytes <= 11 * 1024, `${bytes} bytes`);
});

test('the React bindings are at most 1 KiB on top', async (t) => {
	const bytes = await gzippedBytes('../src/react.ts');
	t.diagnostic(`${bytes} bytes`);
	assert(bytes <= 1024, `${bytes} bytes`);
});
