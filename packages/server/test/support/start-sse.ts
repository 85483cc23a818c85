/** The HTTP server with event streams, on a store that the test may wrap. */

import type { TestContext } from 'node:test';
import { OPEN_RIGHTS } from '../../src/auth/topic-access.ts';
import { systemClock } from '../../src/ops/clock.ts';
import { registerSse } from '../../src/transports/sse/route.ts';
import { type HttpTestOptions, type HttpUnderTest, PLAIN_EDGE, startHttp } from './start-http.ts';

/** Starts it; it is closed when the test ends. */
export async function startSse(t: TestContext, options: Pick<HttpTestOptions, 'wrapStore'> = {}): Promise<HttpUnderTest> {
	let stopHeartbeat = () => {};
	const http: HttpUnderTest = await startHttp({
		...options,
		addRoutes: (server) => {
			stopHeartbeat = registerSse(server, {
				edge: PLAIN_EDGE,
				get relay() {
					return http.relay;
				},
				get metrics() {
					return http.metrics;
				},
				clock: systemClock,
				socketBufferBytes: 65_536,
				heartbeatIntervalS: 15,
				auth: null,
				caps: null,
				rights: OPEN_RIGHTS,
			});
		},
	});
	t.after(() => {
		stopHeartbeat();
		return http.close();
	});
	return http;
}
