/** `/`: what this is and where to go from here, as a page for people and as JSON for programs that ask for it. */

import type { FastifyInstance, FastifyRequest } from 'fastify';
import type { HttpDeps } from '../deps.ts';
import { type Html, html, PAGE_HEADERS, page } from '../pages.ts';
import { FrontPage } from '../schemas.ts';

/** Relative, so that they hold behind a path prefix too. */
const LINKS = { docs: 'docs', openapi: 'openapi.json', health: 'health', ready: 'ready' } as const;
/** How fast what is asked for is compared: longer lists of types are not read. */
const ACCEPT_LENGTH_MAX = 1024;

/** Registers the route. */
export function registerFrontPage(server: FastifyInstance, deps: HttpDeps): void {
	const { appName, version, auth } = deps;
	server.get(
		'/',
		{
			schema: {
				operationId: 'frontPage',
				tags: ['operations'],
				summary: 'What this is, and where to go from here',
				description: 'A page, or JSON when `Accept` names `application/json` and not `text/html`.',
				response: { 200: FrontPage },
			},
		},
		async (request, reply) => {
			reply.header('vary', 'Accept');
			if (asksForJson(request)) return reply.send({ name: appName, version, ...LINKS });
			return reply.headers(PAGE_HEADERS).send(frontPage(deps, baseUrlOf(request, deps), auth !== null));
		},
	);
}

function asksForJson({ headers }: FastifyRequest): boolean {
	const accept = (headers.accept ?? '').slice(0, ACCEPT_LENGTH_MAX).toLowerCase();
	return accept.includes('application/json') && !accept.includes('text/html');
}

/** The URL that the visitor used, for the commands on the page. A proxy in front may be what speaks TLS. */
function baseUrlOf({ headers, host }: FastifyRequest, { edge }: HttpDeps): string {
	const isPrivate = edge.tls !== null || headers['x-forwarded-proto'] === 'https';
	return `${isPrivate ? 'https' : 'http'}://${host}`;
}

function frontPage({ appName, version }: HttpDeps, base: string, needsToken: boolean): string {
	return page(
		appName,
		'This relay is running',
		html`<p>Publish JSON messages to topics over HTTP, and receive them over WebSocket, server-sent events or long-polling.</p>
<ul>
<li><a href="${LINKS.docs}">API documentation</a>, also as <a href="${LINKS.openapi}">openapi.json</a></li>
<li><a href="${LINKS.health}">Health</a> and <a href="${LINKS.ready}">readiness</a> of this node, version ${version}</li>
</ul>
${needsToken ? signIn(base) : null}
${commands(base, needsToken)}`,
		'wide',
	);
}

function signIn(base: string): Html {
	const command = `TOKEN=$(curl -s ${base}/auth/login \\
  --data-urlencode username=NAME --data-urlencode password=PASSWORD |
  sed -n 's/.*"access_token":"\\([^"]*\\)".*/\\1/p')`;
	return html`<h2>Sign in, in each terminal</h2>
<pre>${command}</pre>`;
}

function commands(base: string, needsToken: boolean): Html {
	const authorization = needsToken ? ` \\\n  -H "Authorization: Bearer $TOKEN"` : '';
	const watch = `curl -N '${base}/api/v1/events?topics=hello&since=earliest'${authorization}`;
	const publish = `curl -X POST ${base}/api/v1/messages${authorization} \\
  -H 'Content-Type: application/json' \\
  -d '{"topic":"hello","payload":{"text":"Hello, world"}}'`;
	return html`<h2>Watch a topic</h2>
<pre>${watch}</pre>
<h2>Publish to it, in another terminal</h2>
<pre>${publish}</pre>`;
}
