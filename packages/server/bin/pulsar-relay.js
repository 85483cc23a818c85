#!/usr/bin/env -S node --max-semi-space-size=8
/**
 * The command. It only makes sure that the running Node can run TypeScript and has what the relay needs, so it keeps to syntax
 * that an old Node understands: without this file an old Node would answer with a syntax error deep in a source file.
 *
 * The flag, here and in `npm start`: without it V8 lets the young generation grow by some 50 MiB and keeps that, which is half of
 * what ten thousand idle sockets cost (bench: idle); publishing costs the same CPU with 8 as with 32.
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
