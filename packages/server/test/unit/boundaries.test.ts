/** The check of the import table, on planted sources: what it must find, and what it must not take for an import. */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { checkBoundaries } from '../../../../scripts/check-boundaries.ts';

const SERVER = 'packages/server/src';

function check(sources: Record<string, string>) {
	return checkBoundaries(new Map(Object.entries(sources)));
}

/** The problems of one planted file, without the place. */
function problemsOf(file: string, source: string): string[] {
	return check({ [file]: source }).problems.map((line) => line.replace(/^\S+:\d+: /, ''));
}

const VIOLATIONS: readonly (readonly [title: string, file: string, source: string, problem: string])[] = [
	[
		'relay imports a node module',
		'relay/hub.ts',
		"import { setTimeout } from 'node:timers';",
		'relay may not import node:timers',
	],
	['relay imports a package', 'relay/hub.ts', "import pino from 'pino';", 'relay may not import pino'],
	[
		'relay imports config',
		'relay/hub.ts',
		"import type { Config } from '../config/load.ts';",
		'relay may not import config (../config/load.ts)',
	],
	[
		'relay imports a store',
		'relay/hub.ts',
		"import { open } from '../stores/memory/store.ts';",
		'relay may not import stores/memory (../stores/memory/store.ts)',
	],
	[
		'a store imports relay',
		'stores/embedded/store.ts',
		"import type { Relay } from '../../relay/relay.ts';",
		'stores/embedded may not import relay (../../relay/relay.ts)',
	],
	[
		'a store imports another',
		'stores/embedded/store.ts',
		"import '../memory/store.ts';",
		'stores/embedded may not import stores/memory (../memory/store.ts)',
	],
	[
		'a store imports a package',
		'stores/memory/store.ts',
		"import x from '@scope/driver/part';",
		'stores/memory may not import @scope/driver',
	],
	[
		'a transport imports another',
		'transports/sse/sink.ts',
		"import { a } from '../websocket/sink.ts';",
		'transports/sse may not import transports/websocket (../websocket/sink.ts)',
	],
	[
		'http imports another transport',
		'transports/http/server.ts',
		"import { a } from '../sse/sink.ts';",
		'transports/http may not import transports/sse (../sse/sink.ts)',
	],
	[
		'a transport imports a store',
		'transports/http/server.ts',
		"export * from '../../stores/memory/store.ts';",
		'transports/http may not import stores/memory (../../stores/memory/store.ts)',
	],
	[
		'a port takes more than a type',
		'ports/store.ts',
		"import { readBlock } from '../log/block.ts';",
		'ports may only import types of log, with `import type`',
	],
	[
		'config imports the logger',
		'config/load.ts',
		"import { createLogger } from '../ops/logger.ts';",
		'config may not import ops (../ops/logger.ts)',
	],
	[
		'ops imports config',
		'ops/logger.ts',
		"import type { Config } from '../config/load.ts';",
		'ops may not import config (../config/load.ts)',
	],
	['main imports relay', 'main.ts', "import { a } from './relay/relay.ts';", 'main.ts may not import relay (./relay/relay.ts)'],
	['something imports app', 'ops/health.ts', "import { a } from '../app.ts';", 'ops may not import app.ts (../app.ts)'],
	[
		'a relative path leaves the package',
		'log/block.ts',
		"import { a } from '../../../protocol/src/message-id.ts';",
		"../../../protocol/src/message-id.ts reaches into another package; import it by the package's name",
	],
	[
		'a dynamic import',
		'relay/hub.ts',
		"export async function a() {\n\treturn (await import('node:fs')).default;\n}",
		'relay may not import node:fs',
	],
	[
		'a type in the middle of a line',
		'relay/hub.ts',
		"let a: import('../config/load.ts').Config;",
		'relay may not import config (../config/load.ts)',
	],
	[
		'a computed import',
		'relay/hub.ts',
		'export const a = (name: string) => import(name);',
		'a computed import cannot be checked; name the module',
	],
	[
		'an import through a template',
		'relay/hub.ts',
		`export const a = (name: string) => import(\`./\${name}.ts\`);`,
		'a computed import cannot be checked; name the module',
	],
	[
		'a worker',
		'stores/embedded/store.ts',
		"new Worker(new URL('../../relay/relay.ts', import.meta.url));",
		'stores/embedded may not import relay (../../relay/relay.ts)',
	],
	[
		'an import over several lines',
		'relay/hub.ts',
		"import {\n\ttype A,\n\tb as c,\n} from '../ops/logger.ts';",
		'relay may not import ops (../ops/logger.ts)',
	],
	[
		'a second import after comments',
		'relay/hub.ts',
		"/* a */ // b\nimport type * as fs from 'node:fs';",
		'relay may not import node:fs',
	],
	['a file in no room', 'helpers/text.ts', '', 'is in no room of scripts/check-boundaries.ts'],
	[
		'an import that leads to no room',
		'app.ts',
		"import { a } from './helpers/text.ts';",
		'./helpers/text.ts leads to packages/server/src/helpers/text.ts, which is in no room',
	],
];

for (const [title, file, source, problem] of VIOLATIONS) {
	test(`a violation is found: ${title}`, () => {
		assert.deepEqual(problemsOf(`${SERVER}/${file}`, source), [problem]);
	});
}

test('the protocol imports nothing, neither a node module nor a package', () => {
	const source = "import { Buffer } from 'node:buffer';\nimport ws from 'ws';\nimport { a } from './cursor.ts';";
	assert.deepEqual(problemsOf('packages/protocol/src/frames.ts', source), [
		'protocol may not import node:buffer',
		'protocol may not import ws',
	]);
});

test('what the table allows passes, and is counted', () => {
	const report = check({
		'packages/protocol/src/message-id.ts': 'export const a = 1;',
		[`${SERVER}/log/block.ts`]: "import type { MessageId } from '@pulsar-relay/protocol/message-id';",
		[`${SERVER}/ports/store.ts`]: "import type { Block } from '../log/block.ts';",
		[`${SERVER}/relay/relay.ts`]: "import type { Store } from '../ports/store.ts';\nimport { hub } from './hub.ts';",
		[`${SERVER}/relay/hub.ts`]: "import { readBlock } from '../log/block.ts';",
		[`${SERVER}/stores/embedded/store.ts`]: "import { DatabaseSync } from 'node:sqlite';\nimport '../../ports/store.ts';",
		[`${SERVER}/transports/http/server.ts`]: "import fastify from 'fastify';\nimport swagger from '@fastify/swagger';",
		[`${SERVER}/transports/sse/sink.ts`]: "import { a } from '../http/server.ts';\nimport { b } from '../../relay/relay.ts';",
		[`${SERVER}/app.ts`]: "import { a } from './stores/embedded/store.ts';\nimport { b } from './transports/sse/sink.ts';",
		[`${SERVER}/process/serve.ts`]: '',
		[`${SERVER}/main.ts`]:
			"import { run } from './process/serve.ts';\nimport { readFileSync } from 'node:fs';\nimport own from '../package.json' with { type: 'json' };",
	});
	assert.deepEqual(report, { problems: [], imports: 16 });
});

test('comments and texts that look like imports are not counted', () => {
	const source = [
		"// import { a } from 'pino';",
		"/** import('node:fs') */",
		"/*\nimport { a } from 'pino';\n*/",
		'export const a = \'import("node:fs")\';',
		"export interface B {\n\treadonly type: 'import';\n}",
		"export const c = 'https://example.org'; export const from = 'from';",
	].join('\n');
	assert.deepEqual(check({ [`${SERVER}/relay/hub.ts`]: source }), { problems: [], imports: 0 });
});

test('a text with slashes does not hide the import after it', () => {
	const source = "export const a = ['http://x/*', `/api/*`];\nexport const b = () => import('node:fs');";
	assert.deepEqual(problemsOf(`${SERVER}/relay/hub.ts`, source), ['relay may not import node:fs']);
});

test('a problem names the file and the line', () => {
	const { problems } = check({ [`${SERVER}/relay/hub.ts`]: "\n\nimport fs from 'node:fs';\n" });
	assert.deepEqual(problems, [`${SERVER}/relay/hub.ts:3: relay may not import node:fs`]);
});

test('imports that go round in a circle are found, also when they are of types only', () => {
	const { problems } = check({
		[`${SERVER}/relay/a.ts`]: "import { b } from './b.ts';",
		[`${SERVER}/relay/b.ts`]: "import type { C } from './c.ts';",
		[`${SERVER}/relay/c.ts`]: "import type { A } from './a.ts';",
		[`${SERVER}/relay/d.ts`]: "import { a } from './a.ts';\nimport { b } from './b.ts';",
	});
	const [a, b, c] = ['a', 'b', 'c'].map((name) => `${SERVER}/relay/${name}.ts`);
	assert.deepEqual(problems, [`${a}:1: imports itself by way of ${b} → ${c} → ${a}`]);
});

test('a circle over package names is found too', () => {
	const { problems } = check({
		'packages/protocol/src/a.ts': "export { b } from './b.ts';",
		'packages/protocol/src/b.ts': "export type { A } from '@pulsar-relay/protocol/a';",
	});
	assert.equal(problems.length, 1);
});
