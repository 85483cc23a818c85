/** What a program does with a client that was generated from the document of a relay; compiled and run by generated-client.api.ts. */

import createClient from 'openapi-fetch';
import type { paths } from './relay.d.ts';

/** Signs in, publishes, and reads the message in three ways; resolves with what came. */
export async function useGeneratedClient(baseUrl: string, username: string, password: string) {
	const client = createClient<paths>({ baseUrl });
	const signedIn = await client.POST('/auth/login', {
		headers: { 'content-type': 'application/x-www-form-urlencoded' },
		body: { username, password },
	});
	if (signedIn.error !== undefined) throw new Error(signedIn.error.message);
	const headers = { authorization: `Bearer ${signedIn.data.access_token}` };

	const published = await client.POST('/api/v1/messages', {
		headers,
		params: { header: { 'idempotency-key': 'generated-1' } },
		body: { topic: 'generated', payload: { n: 1 }, metadata: { by: 'openapi-fetch' } },
	});
	if (published.error !== undefined) throw new Error(published.error.message);

	// What has a default may be left out: `limit`, `timeout`, `order`, `expires_in`.
	const polled = await client.GET('/api/v1/poll', { headers, params: { query: { topics: 'generated', since: 'earliest' } } });
	if (polled.error !== undefined) throw new Error(polled.error.message);
	const page = await client.GET('/api/v1/topics/{topic_name}/messages', {
		headers,
		params: { path: { topic_name: 'generated' } },
	});
	if (page.error !== undefined) throw new Error(page.error.message);
	const scoped = await client.POST('/auth/token/scoped', {
		headers,
		body: { scopes: [{ actions: ['subscribe'], topics: ['generated'] }] },
	});
	if (scoped.error !== undefined) throw new Error(scoped.error.message);

	const missing = await client.GET('/api/v1/topics/{topic_name}', { headers, params: { path: { topic_name: 'missing' } } });
	return {
		id: published.data.message_id,
		polled: polled.data.messages.map(({ message_id: id, payload }) => ({ id, payload })),
		kept: page.data.count,
		lifetimeS: scoped.data.expires_in,
		missing: missing.error?.error,
	};
}

/** Never called: what the document does not allow does not compile. */
export async function misuse(baseUrl: string) {
	const client = createClient<paths>({ baseUrl });
	// @ts-expect-error A message has a payload.
	await client.POST('/api/v1/messages', { body: { topic: 'generated' } });
	// @ts-expect-error There is no such order.
	await client.GET('/api/v1/topics/{topic_name}/messages', { params: { path: { topic_name: 't' }, query: { order: 'up' } } });
}
