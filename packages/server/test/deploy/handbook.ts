/** The commands of a page of documentation, and the shell of an operator in which they are run as they stand there. */

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { chmod, writeFile } from 'node:fs/promises';
import { createServer, type IncomingMessage } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { readText } from './files.ts';

/** A section with commands. */
export interface Section {
	readonly heading: string;
	/** The `sh` blocks, in order. */
	readonly blocks: readonly string[];
}

/** The sections of a page that have commands, in order. */
export function sectionsWithCommands(page: string): Section[] {
	const sections: { heading: string; blocks: string[] }[] = [];
	for (const [, heading, block] of readText(page).matchAll(/^#+ (.+)$|^```sh\n([\s\S]*?)^```$/gm)) {
		if (heading !== undefined) sections.push({ heading, blocks: [] });
		else if (block !== undefined) sections.at(-1)?.blocks.push(block);
	}
	return sections.filter(({ blocks }) => blocks.length > 0);
}

/** The `valkey-cli` commands that stand in the text of a page. */
export function commandsInText(page: string): string[] {
	const prose = readText(page).replace(/^```[\s\S]*?^```$/gm, '');
	return [...new Set([...prose.matchAll(/`(valkey-cli [^`]+)`/g)].map(([, command = '']) => command))];
}

/** What the commands of Compose that start and stop services are to do here. */
export type Services = Readonly<Record<string, { start(): Promise<unknown>; stop(signal: NodeJS.Signals): Promise<unknown> }>>;

/** Where the container of Valkey is, so to speak. */
export interface Container {
	readonly dataDir: string;
	readonly passwordFile: string;
}

/**
 * Puts a `docker` into a directory of programs that stands for Docker: what a page does in the container of Valkey it does here, in the
 * directory of its data; services it starts and stops through `services`. It knows only what our pages use. Gives what ends it.
 */
export async function standInForDocker(bin: string, container: Container, services: Services): Promise<() => Promise<void>> {
	const server = createServer((request, response) => {
		carryOut(request, services).then(
			() => response.end(),
			(error: unknown) => response.writeHead(500).end(String(error)),
		);
	});
	server.listen(0, '127.0.0.1');
	await once(server, 'listening');
	const { port } = server.address() as AddressInfo;
	const script = `#!/bin/sh
set -eu
[ "$1" = compose ] || exit 64
shift
case "$1" in
	exec | run)
		shift
		while [ "$1" != valkey ]; do
			case "$1" in --rm | --no-deps | -T) shift ;; *) exit 64 ;; esac
		done
		shift
		cd ${container.dataDir}
		export VALKEY_PASSWORD_FILE=${container.passwordFile}
		exec "$@"
		;;
	kill | stop | start) exec curl -sS --fail-with-body --data "$*" http://127.0.0.1:${port}/ ;;
	*) exit 64 ;;
esac
`;
	const file = join(bin, 'docker');
	await writeFile(file, script);
	await chmod(file, 0o755);
	return async () => {
		server.close();
		await once(server, 'close');
	};
}

async function carryOut(request: IncomingMessage, services: Services): Promise<void> {
	const [verb = '', ...words] = (await text(request)).split(' ');
	const signal = verb === 'kill' ? words.splice(0, 2) : [];
	if (verb === 'kill') assert.deepEqual(signal, ['--signal', 'KILL']);
	for (const word of words) {
		const service = services[word];
		assert(service !== undefined, `no service ${word}`);
		await (verb === 'start' ? service.start() : service.stop(verb === 'kill' ? 'SIGKILL' : 'SIGTERM'));
	}
}
