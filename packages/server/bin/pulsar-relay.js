#!/usr/bin/env node
/**
 * The command. It only makes sure that the running Node can run TypeScript and has what the relay needs, so it keeps to syntax
 * that an old Node understands: without this file an old Node would answer with a syntax error deep in a source file.
 */

var NODE_MAJOR_MIN = 24;

if (Number(process.versions.node.split('.')[0]) < NODE_MAJOR_MIN) {
	process.stderr.write(
		'pulsar-relay needs Node ' +
			NODE_MAJOR_MIN +
			' or newer; this is ' +
			process.version +
			'. Run `npm ci` and `npm start`, which bring Node 26.\n',
	);
	process.exitCode = 78;
} else {
	void import('../src/main.ts');
}
