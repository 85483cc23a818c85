/** A real Prometheus with the shipped configuration, pointed at a relay under test. */

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { stringify } from 'yaml';
import { freePort, untilAnswer } from '../support/valkey.ts';
import { DEPLOY, readYaml } from './files.ts';
import { endWithThisProcess } from './programs.ts';

export interface Sample {
	readonly metric: Readonly<Record<string, string>>;
	readonly value: number;
}

export interface Prometheus {
	readonly url: string;
	/** The answer to a query now. Rejects when Prometheus does not take it for one. */
	query(expression: string): Promise<readonly Sample[]>;
	/** The data of any other question to its API. */
	ask<T>(path: string): Promise<T>;
	stop(): Promise<void>;
}

interface Configuration {
	global: Record<string, string>;
	rule_files: string[];
	scrape_configs: { static_configs: { targets: string[] }[] }[];
}

/** Starts it with the shipped files, but for the relay's address and how often it looks; resolves once it is ready. */
export async function startPrometheus(relayUrl: string): Promise<Prometheus> {
	const directory = await mkdtemp(join(tmpdir(), 'pulsar-prometheus-'));
	const config = readYaml<Configuration>('deploy/prometheus.yml');
	config.global = { scrape_interval: '1s', scrape_timeout: '1s', evaluation_interval: '1s' };
	config.rule_files = config.rule_files.map((file) => join(DEPLOY, file));
	assert.equal(config.scrape_configs.length, 1);
	for (const job of config.scrape_configs) job.static_configs = [{ targets: [new URL(relayUrl).host] }];
	await writeFile(join(directory, 'prometheus.yml'), stringify(config));

	const address = `127.0.0.1:${await freePort()}`;
	const child = spawn(
		'prometheus',
		[
			`--config.file=${join(directory, 'prometheus.yml')}`,
			`--storage.tsdb.path=${join(directory, 'data')}`,
			`--web.listen-address=${address}`,
			'--log.level=warn',
		],
		{ stdio: ['ignore', 'inherit', 'inherit'] },
	);
	endWithThisProcess(child);
	const exited = once(child, 'exit');
	const url = `http://${address}`;
	const ask = async <T>(path: string): Promise<T> => {
		const response = await fetch(`${url}/api/v1/${path}`);
		const answer = (await response.json()) as { status: string; data: T; error?: string };
		assert.equal(answer.status, 'success', `${path}: ${answer.error}`);
		return answer.data;
	};
	const stop = async () => {
		child.kill('SIGKILL');
		await exited;
		await rm(directory, { recursive: true, force: true });
	};
	const isReady = () =>
		fetch(`${url}/-/ready`).then(
			({ ok }) => ok,
			() => false,
		);
	await untilAnswer(async () => {
		assert.equal(child.exitCode, null, 'Prometheus has ended');
		return isReady();
	}, 'ready').catch(async (error: unknown) => {
		await stop();
		throw error;
	});
	return {
		url,
		ask,
		async query(expression) {
			type Vector = { result: { metric: Record<string, string>; value: [number, string] }[] };
			const { result } = await ask<Vector>(`query?${new URLSearchParams({ query: expression })}`);
			return result.map(({ metric, value: [, text] }) => ({ metric, value: Number(text) }));
		},
		stop,
	};
}
