/** nginx, HAProxy and Caddy with the configurations of deploy/proxies/, which differ from those files in names, ports and paths only. */

import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { readText } from '../deploy/files.ts';
import { endWithThisProcess, missing } from '../deploy/programs.ts';
import type { Certificates } from '../support/certificates.ts';
import { freePort, untilAnswer } from '../support/valkey.ts';
import { askOnce } from './client.ts';

export type ProxyName = 'nginx' | 'haproxy' | 'caddy';
export const PROXIES: readonly ProxyName[] = ['nginx', 'haproxy', 'caddy'];

/** Debian puts the first two where only root looks. */
process.env['PATH'] = `${process.env['PATH']}:/usr/sbin`;

const FILES: Readonly<Record<ProxyName, string>> = {
	nginx: 'deploy/proxies/nginx.conf',
	haproxy: 'deploy/proxies/haproxy.cfg',
	caddy: 'deploy/proxies/Caddyfile',
};

export interface ProxyOptions {
	readonly certificates: Certificates;
	/** Of the relays, on 127.0.0.1. */
	readonly relayPorts: readonly [number, number];
	/** An empty directory. */
	readonly directory: string;
}

export interface ProxyProcess {
	readonly name: ProxyName;
	/** It listens on 127.0.0.1 under the name `localhost`, with TLS. */
	readonly port: number;
	readonly ca: string;
	log(): string;
	end(): Promise<void>;
}

/** Why the tests of a proxy are to be skipped, or false. */
export function proxyUnavailable(name: ProxyName): string | false {
	return missing([name], name);
}

/** Starts a proxy; resolves once a relay answers through it. */
export async function startProxy(name: ProxyName, options: ProxyOptions): Promise<ProxyProcess> {
	const port = await freePort();
	const directory = join(options.directory, name);
	await mkdir(directory);
	const [program, ...args] = await COMMANDS[name](directory, await configuration(name, port, options));
	const child = spawn(program ?? name, args, {
		env: { ...process.env, HOME: directory, XDG_DATA_HOME: directory, XDG_CONFIG_HOME: directory },
		stdio: ['ignore', 'pipe', 'pipe'],
	});
	endWithThisProcess(child);
	const printed: string[] = [];
	for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk: Buffer) => printed.push(chunk.toString()));
	const ca = await readFile(options.certificates.ca, 'utf8');
	const proxy: ProxyProcess = { name, port, ca, log: () => printed.join(''), end: () => end(child) };
	try {
		await untilAnswer(async () => {
			assert.equal(child.exitCode, null, `${name} has ended:\n${printed.join('')}`);
			return (await askOnce(proxy, '/health').catch(() => null))?.status === 200;
		}, `answering through ${name}`);
	} catch (error) {
		await proxy.end();
		throw new Error(printed.join(''), { cause: error });
	}
	return proxy;
}

/** The configuration for operators, with the names, ports and paths of the test. */
async function configuration(
	name: ProxyName,
	port: number,
	{ certificates, relayPorts, directory }: ProxyOptions,
): Promise<string> {
	const pem = join(directory, 'relay.pem');
	await writeFile(pem, (await readFile(certificates.certificate, 'utf8')) + (await readFile(certificates.key, 'utf8')));
	const text = readText(FILES[name])
		.replaceAll('127.0.0.1:8081', `127.0.0.1:${relayPorts[0]}`)
		.replaceAll('127.0.0.1:8082', `127.0.0.1:${relayPorts[1]}`)
		.replaceAll('/etc/ssl/relay.example.org.crt', certificates.certificate)
		.replaceAll('/etc/ssl/relay.example.org.key', certificates.key)
		.replaceAll('/etc/ssl/relay.example.org.pem', pem)
		.replace('listen 443 ', `listen 127.0.0.1:${port} `)
		.replace('bind :443 ', `bind 127.0.0.1:${port} `)
		.replaceAll('relay.example.org', name === 'caddy' ? `localhost:${port}` : 'localhost');
	assert(text.includes(String(port)), `${FILES[name]} listens on 443`);
	return text;
}

/** Writes what is around the configuration, and gives the command. */
const COMMANDS: Readonly<Record<ProxyName, (directory: string, text: string) => Promise<readonly string[]>>> = {
	async nginx(directory, text) {
		await writeFile(join(directory, 'pulsar-relay.conf'), text);
		const user = process.getuid?.() === 0 ? 'user root;' : '';
		const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map(
			(kind) => `${kind}_temp_path ${directory}/${kind};`,
		);
		const main = `${user} pid ${directory}/pid; error_log stderr; events {}
http { access_log off; ${temporary.join(' ')} include ${directory}/pulsar-relay.conf; }\n`;
		await writeFile(join(directory, 'main.conf'), main);
		return ['nginx', '-c', join(directory, 'main.conf'), '-g', 'daemon off; master_process off;'];
	},
	async haproxy(directory, text) {
		await writeFile(join(directory, 'haproxy.cfg'), `global\n\tlog stdout format raw local0 notice\n\n${text}`);
		return ['haproxy', '-db', '-f', join(directory, 'haproxy.cfg')];
	},
	async caddy(directory, text) {
		// It would listen on port 80 too, and for its administration.
		await writeFile(join(directory, 'Caddyfile'), `{\n\tadmin off\n\tauto_https off\n}\n\n${text}`);
		return ['caddy', 'run', '--adapter', 'caddyfile', '--config', join(directory, 'Caddyfile')];
	},
};

async function end(child: ChildProcess): Promise<void> {
	if (child.exitCode !== null || child.signalCode !== null) return;
	const exited = once(child, 'exit');
	child.kill('SIGKILL');
	await exited;
}
