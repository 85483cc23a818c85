/** The configurations of proxies in deploy/proxies/, and the guide that shows them; what they do is shown by `npm run test:proxies`. */

import assert from 'node:assert/strict';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { SETTINGS } from '../../src/config/schema.ts';
import { DEPLOY, readText, secondsOf } from './files.ts';

const GUIDE = readText('docs/behind-a-proxy.md');
const FILES = readdirSync(join(DEPLOY, 'proxies'));

function defaultOf(key: string): number {
	const setting = SETTINGS.find((one) => one.key === key) ?? assert.fail(key);
	return Number('default' in setting ? setting.default : Number.NaN);
}

test('the guide shows each file as it is', () => {
	const shown = [...GUIDE.matchAll(/^```(?:nginx|haproxy|caddy)\n([\s\S]*?)^```$/gm)].map(([, text]) => text);
	assert.deepEqual(shown.sort(), FILES.map((name) => readText(`deploy/proxies/${name}`)).sort());
});

test('sizes and times agree with the defaults of the relay', () => {
	const nginx = readText('deploy/proxies/nginx.conf');
	const haproxy = readText('deploy/proxies/haproxy.cfg');
	const caddy = readText('deploy/proxies/Caddyfile');
	const [, mebibytes] = /client_max_body_size (\d+)m;/.exec(nginx) ?? [];
	assert.equal(Number(mebibytes) * 1024 * 1024, defaultOf('maxBodyBytes'));
	const seconds = (text: string, pattern: RegExp) => secondsOf(pattern.exec(text)?.[1] ?? assert.fail(String(pattern)));
	for (const idleS of [
		seconds(nginx, /keepalive_timeout (\w+);/),
		seconds(haproxy, /timeout http-keep-alive (\w+)/),
		seconds(caddy, /keepalive (\w+)/),
	]) {
		assert(idleS < defaultOf('keepAliveTimeoutS'), 'the proxy is first to close an idle connection');
	}
	for (const quietS of [
		seconds(nginx, /proxy_read_timeout (\w+);/),
		seconds(haproxy, /timeout server (\w+)/),
		seconds(haproxy, /timeout tunnel (\w+)/),
	]) {
		assert(quietS > 60, 'longer than a poll may last');
		assert(quietS > 2 * defaultOf('wsPingIntervalS') && quietS > 2 * defaultOf('sseHeartbeatIntervalS'));
	}
});
