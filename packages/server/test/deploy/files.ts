/** The files under deploy/, as the tests read them. */

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parse } from 'yaml';

/** The root of the repository, and the directory of the stack. */
export const ROOT = fileURLToPath(new URL('../../../..', import.meta.url)).replace(/\/$/, '');
export const DEPLOY = join(ROOT, 'deploy');

export interface HealthCheck {
	readonly test: readonly string[];
	readonly interval: string;
	readonly timeout: string;
	readonly retries: number;
	readonly start_period: string;
}

/** What the tests look at of a service. */
export interface Service {
	readonly image: string;
	readonly user?: string;
	readonly working_dir?: string;
	readonly command?: readonly string[];
	readonly build?: { readonly context: string; readonly dockerfile: string };
	readonly environment?: Readonly<Record<string, string>>;
	readonly secrets?: readonly string[];
	readonly volumes?: readonly string[];
	readonly ports?: readonly string[];
	readonly depends_on?: Readonly<Record<string, { readonly condition: string }>>;
	readonly healthcheck: HealthCheck;
	readonly restart: string;
	readonly read_only: boolean;
	readonly cap_drop: readonly string[];
	readonly stop_grace_period?: string;
	readonly ulimits?: { readonly nofile: number };
}

export interface Compose {
	readonly services: Readonly<Record<'valkey' | 'relay' | 'prometheus' | 'grafana', Service>>;
	readonly secrets: Readonly<Record<string, { readonly file: string }>>;
	readonly volumes: Readonly<Record<string, unknown>>;
}

export function readText(path: string): string {
	return readFileSync(join(ROOT, path), 'utf8');
}

/** A YAML file as a value. Duplicate keys and unknown anchors are errors of the parser. */
export function readYaml<T>(path: string): T {
	return parse(readText(path), { merge: true, strict: true, uniqueKeys: true }) as T;
}

/** The compose file, with `$$` as the `$` that it means. */
export function readCompose(): Compose {
	const text = readText('deploy/docker-compose.yml');
	assert(!text.replaceAll('$$', '').includes('$'), 'nothing depends on the environment of whoever starts it');
	return parse(text.replaceAll('$$', '$'), { merge: true }) as Compose;
}

/** The value of a time such as `90s` or `2m`, in seconds. */
export function secondsOf(time: string): number {
	const [, number, unit] = /^(\d+)(s|m|h)$/.exec(time) ?? assert.fail(`${time} is no time`);
	return Number(number) * { s: 1, m: 60, h: 3600 }[unit as 's' | 'm' | 'h'];
}
