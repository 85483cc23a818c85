/**
 * Makes the packages that people install, as tarballs in `dist/`: JavaScript, declarations and source maps instead of TypeScript, since Node
 * strips no types below `node_modules`. Nothing of it is committed.
 */

import { execFileSync } from 'node:child_process';
import { cpSync, globSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';

const ROOT = fileURLToPath(new URL('..', import.meta.url));
const DIST = join(ROOT, 'dist');
const BUILT = join(DIST, 'build');

interface Manifest {
	readonly name: string;
	readonly version: string;
	readonly exports?: Readonly<Record<string, string>>;
	readonly dependencies?: Readonly<Record<string, string>>;
}

/** A package: its directory below `packages/`, and the files of it that are no TypeScript. */
interface Package {
	readonly directory: string;
	readonly files: readonly string[];
	readonly description: string;
	/** The oldest Node that runs it. */
	readonly node: string;
	/** Copies the protocol into the package, which then depends on nothing. */
	readonly bundlesProtocol?: boolean;
}

const PACKAGES: readonly Package[] = [
	{ directory: 'protocol', files: [], description: 'The wire of Pulsar Relay: ids, cursors, frames, errors', node: '>=22' },
	{
		directory: 'client',
		files: [],
		description: 'Client of Pulsar Relay for browsers, Node, Deno and Bun',
		node: '>=22',
		bundlesProtocol: true,
	},
	{
		directory: 'server',
		files: ['bin/*.js', 'src/**/*.lua'],
		description: 'A message relay: durable ordered topics over HTTP, WebSocket, SSE and long-polling',
		node: '>=24',
	},
];

const PROTOCOL = '@pulsar-relay/protocol';

/** Builds and packs. Returns the paths of the tarballs. */
export function packAll(): readonly string[] {
	rmSync(DIST, { recursive: true, force: true });
	run('tsc', '-p', 'tsconfig.release.json');
	return PACKAGES.map(pack);
}

function run(command: string, ...args: readonly string[]): string {
	return execFileSync(command, args, { cwd: ROOT, encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit'] });
}

function pack(made: Package): string {
	const source = join(ROOT, 'packages', made.directory);
	const staging = join(DIST, 'packages', made.directory);
	cpSync(join(BUILT, made.directory, 'src'), join(staging, 'src'), { recursive: true });
	for (const file of globSync([...made.files], { cwd: source })) cpSync(join(source, file), join(staging, file));
	cpSync(join(ROOT, 'LICENSE'), join(staging, 'LICENSE'));
	cpSync(join(source, 'README.md'), join(staging, 'README.md'));
	const manifest = JSON.parse(readFileSync(join(source, 'package.json'), 'utf8')) as Manifest;
	if (made.bundlesProtocol === true) bundleProtocol(staging);
	writeFileSync(join(staging, 'package.json'), `${JSON.stringify(publishedManifest(made, manifest), null, '\t')}\n`);
	for (const file of globSync('**/*.js', { cwd: staging })) pointAtJavaScript(join(staging, file));
	mkdirSync(DIST, { recursive: true });
	const [{ filename } = { filename: '' }] = JSON.parse(run('npm', 'pack', '--json', '--pack-destination', DIST, staging)) as {
		filename: string;
	}[];
	return join(DIST, filename);
}

function publishedManifest({ description, node, bundlesProtocol }: Package, manifest: Manifest): object {
	const { exports, dependencies, ...rest } = manifest as Manifest & { private?: boolean };
	delete rest.private;
	const kept = bundlesProtocol === true ? undefined : dependencies;
	return {
		...rest,
		description,
		license: 'MIT',
		engines: { node },
		...(exports === undefined
			? {}
			: { exports: Object.fromEntries(Object.entries(exports).map(([at, to]) => [at, builtExport(to)])) }),
		...(kept === undefined ? {} : { dependencies: kept }),
	};
}

function builtExport(to: string): object {
	return { types: to.replace(/\.ts$/, '.d.ts'), default: to.replace(/\.ts$/, '.js') };
}

/** Puts what is used of the protocol beside the files of the package, and points its imports there. */
function bundleProtocol(staging: string): void {
	const bundled = join(staging, 'src', 'protocol');
	for (const file of globSync('src/**/*.{js,d.ts}', { cwd: staging })) {
		const path = join(staging, file);
		const toProtocol = relative(dirname(path), bundled);
		const base = toProtocol.startsWith('.') ? toProtocol : `./${toProtocol}`;
		rewrite(path, (text) =>
			text.replaceAll(new RegExp(`'${PROTOCOL}/([\\w-]+)'`, 'g'), (_, module: string) => {
				copyModule(module, bundled);
				return `'${base}/${module}.js'`;
			}),
		);
	}
}

/** Copies a module of the protocol, with those that it imports. */
function copyModule(module: string, to: string): void {
	for (const end of ['.js', '.js.map', '.d.ts']) cpSync(join(BUILT, 'protocol', 'src', module + end), join(to, module + end));
	const text = readFileSync(join(to, `${module}.js`), 'utf8');
	for (const [, next = ''] of text.matchAll(/from '\.\/([\w-]+)\.js'/g)) copyModule(next, to);
}

/** The compiler rewrites imports; what is started by its URL, as workers are, it does not know. */
function pointAtJavaScript(path: string): void {
	rewrite(path, (text) =>
		text
			.replaceAll(/new URL\('(\.{1,2}\/[^']+)\.ts', import\.meta\.url\)/g, "new URL('$1.js', import.meta.url)")
			.replaceAll(/\bimport\('(\.{1,2}\/[^']+)\.ts'\)/g, "import('$1.js')"),
	);
}

function rewrite(path: string, change: (text: string) => string): void {
	const text = readFileSync(path, 'utf8');
	const changed = change(text);
	if (changed !== text) writeFileSync(path, changed);
}

if (import.meta.main) for (const tarball of packAll()) console.log(relative(ROOT, tarball));
