/** The API documentation: `/openapi.json`, generated from the schemas that validate, and a page to browse it at `/docs`. */

import swagger from '@fastify/swagger';
import swaggerUi from '@fastify/swagger-ui';
import type { FastifyInstance, FastifyRequest } from 'fastify';
import type { HttpDeps } from './deps.ts';
import { documentRoute, SECURITY_SCHEMES } from './route-documentation.ts';
import { ErrorAnswer } from './schemas.ts';

const DOCS_PREFIX = '/docs';
const FILES_ROUTE = `${DOCS_PREFIX}/static/*`;

/** Registers the documentation. Routes that are added after this has resolved are in it. */
export async function registerOpenApi(server: FastifyInstance, { appName, version, auth, limits }: HttpDeps): Promise<void> {
	const { bodyLimit = limits.maxBodyBytes } = server.initialConfig;
	const relay = { accounts: auth !== null, bodyBytesMax: bodyLimit, lineBytesMax: limits.maxBodyBytes };
	server.addSchema(ErrorAnswer);
	await server.register(swagger, {
		openapi: {
			openapi: '3.1.0',
			info: {
				title: appName,
				version,
				description:
					'A message relay: publish over HTTP, subscribe over WebSocket, server-sent events or long-polling. ' +
					`JSON nests at most ${limits.maxPayloadDepth} levels. The WebSocket at \`/ws\` is described in PROTOCOL.md.`,
			},
			tags: [
				{ name: 'publish', description: 'Publishing messages' },
				{ name: 'subscribe', description: 'Receiving messages' },
				{ name: 'topics', description: 'Topics and their kept messages' },
				{ name: 'operations', description: 'Running the relay' },
				...(auth === null ? [] : AUTH_TAGS),
			],
			...(auth === null ? {} : { components: { securitySchemes: SECURITY_SCHEMES } }),
		},
		refResolver: { buildLocalReference: (schema, _base, _fragment, index) => String(schema['$id'] ?? `def-${index}`) },
		transform: ({ schema, url, route }) => ({ schema: documentRoute({ schema, url, route }, relay), url }),
	});
	await server.register(swaggerUi, {
		routePrefix: DOCS_PREFIX,
		// Its files relative to the page, so that a proxy may serve it under a prefix.
		indexPrefix: '.',
		staticCSP: CONTENT_SECURITY_POLICY,
		theme: { title: appName },
		transformSpecification: (document) => ({ ...document, servers: [{ url: '../' }] }),
		transformSpecificationClone: false,
		uiConfig: { tryItOutEnabled: true, layout: 'BaseLayout' },
	});
	server.get('/openapi.json', { schema: { hide: true } }, async () => server.swagger());
}

/** The files of the page; they are in one directory. */
const FILE_NAME = /^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$/;

/**
 * Whether a request asks for a file of the page that cannot exist: one in another directory, or with a name that no file system takes. The
 * library that serves the files would answer some of these with 403 or a failure of its own.
 */
export function isMissingDocsFile({ routeOptions, params }: FastifyRequest): boolean {
	return routeOptions.url === FILES_ROUTE && !FILE_NAME.test(String((params as { readonly '*'?: string })['*']));
}

const AUTH_TAGS = [
	{ name: 'tokens', description: 'Signing in and out' },
	{ name: 'sign-in', description: 'Signing in by a browser: for a device, and at a provider' },
	{ name: 'accounts', description: 'Accounts' },
	{ name: 'keys', description: 'API keys' },
];

/** The page loads nothing from elsewhere, and asks only this relay. */
const CONTENT_SECURITY_POLICY =
	"default-src 'self'; img-src 'self' data:; style-src 'self' 'unsafe-inline'; base-uri 'self'; object-src 'none'; frame-ancestors 'none'";
