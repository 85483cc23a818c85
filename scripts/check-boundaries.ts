/**
 * Dependencies point inward: checks every import of the source of every package against the table below, and that no imports
 * go round in a circle. Counts static, dynamic and type imports, and files opened through `new URL(…, import.meta.url)`.
 */

import { globSync, readFileSync } from 'node:fs';
import { dirname, join, normalize, sep } from 'node:path';
import { fileURLToPath } from 'node:url';

/** A part of the source and what its files may import, besides each other. */
interface Room {
	/** A directory, or a file. A last part `*` makes each directory below a room of its own. */
	readonly at: string;
	/** Rooms, as their `at` says, without `packages/` and `server/src/`. */
	readonly rooms: readonly string[];
	/** Rooms of which only types may be imported, with `import type`. */
	readonly types?: readonly string[];
	/** npm packages; `@x/*` for a whole scope. */
	readonly npm: readonly string[];
	/** Whether Node's own modules may be used. */
	readonly node: boolean;
}

const SERVER = 'packages/server/src/';

/** The table. A file that is in none of these rooms is an error, so that a new room gets its line here. */
const ROOMS: readonly Room[] = [
	{ at: 'packages/protocol/src', rooms: [], npm: [], node: false },
	{ at: 'packages/client/src/node.ts', rooms: ['protocol', 'client'], npm: [], node: true },
	{ at: 'packages/client/src/react.ts', rooms: ['protocol', 'client'], npm: ['react'], node: false },
	{ at: 'packages/client/src', rooms: ['protocol'], npm: [], node: false },
	{ at: `${SERVER}log`, rooms: ['protocol'], npm: [], node: false },
	{ at: `${SERVER}ports`, rooms: ['protocol'], types: ['log'], npm: [], node: false },
	{ at: `${SERVER}relay`, rooms: ['log', 'ports', 'protocol'], npm: [], node: false },
	{ at: `${SERVER}auth`, rooms: ['ports', 'protocol'], npm: ['jose', '@node-rs/argon2', 'openid-client'], node: true },
	{ at: `${SERVER}limits`, rooms: ['ports', 'protocol'], npm: [], node: false },
	{ at: `${SERVER}compat`, rooms: ['ports', 'protocol'], npm: [], node: true },
	{ at: `${SERVER}stores/valkey`, rooms: ['ports', 'log', 'protocol'], npm: ['@valkey/valkey-glide'], node: true },
	{ at: `${SERVER}stores/*`, rooms: ['ports', 'log', 'protocol'], npm: [], node: true },
	{
		at: `${SERVER}transports/*`,
		rooms: ['relay', 'auth', 'compat', 'limits', 'ports', 'log', 'ops', 'transports/http', 'protocol'],
		npm: ['fastify', '@fastify/*', 'ws', 'typebox', 'ajv'],
		node: true,
	},
	{ at: `${SERVER}ops`, rooms: ['ports', 'protocol'], npm: ['pino', 'pino-pretty', 'prom-client'], node: true },
	{ at: `${SERVER}config`, rooms: [], npm: ['yaml', 'smol-toml'], node: false },
	{
		at: `${SERVER}wiring`,
		rooms: ['auth', 'compat', 'config', 'limits', 'ops', 'ports', 'stores/*', 'transports/*'],
		npm: [],
		node: true,
	},
	{
		at: `${SERVER}app.ts`,
		rooms: ['wiring', 'auth', 'config', 'log', 'ops', 'ports', 'protocol', 'relay', 'stores/*', 'transports/*'],
		npm: [],
		node: true,
	},
	// Like auth it knows no store and no wire: it brings records and messages from one port to two others.
	{ at: `${SERVER}import`, rooms: ['auth', 'ports', 'log', 'protocol'], npm: [], node: true },
	{
		at: `${SERVER}import-app.ts`,
		rooms: ['app.ts', 'wiring', 'auth', 'config', 'import', 'ops', 'ports', 'protocol', 'stores/*'],
		npm: [],
		node: true,
	},
	{ at: `${SERVER}workers`, rooms: ['ops'], npm: [], node: true },
	{
		at: `${SERVER}process`,
		rooms: ['app.ts', 'import-app.ts', 'ops', 'workers'],
		types: ['config', 'import'],
		npm: [],
		node: true,
	},
	{ at: `${SERVER}main.ts`, rooms: ['process', 'config'], npm: [], node: true },
];

/** Where a package's name leads. */
const PACKAGES: ReadonlyMap<string, string> = new Map([['@pulsar-relay/protocol', 'packages/protocol/src']]);

/** What the check found. */
export interface BoundaryReport {
	/** One line each: `file:line: what`. */
	readonly problems: readonly string[];
	readonly imports: number;
}

interface FoundImport {
	readonly line: number;
	/** Null when it is computed and cannot be read off the source. */
	readonly specifier: string | null;
	readonly typeOnly: boolean;
}

/** Checks sources, given by their path from the root of the repository, with forward slashes. */
export function checkBoundaries(sources: ReadonlyMap<string, string>): BoundaryReport {
	const problems: string[] = [];
	const graph = new Map<string, string[]>();
	let imports = 0;
	for (const [file, source] of sources) {
		const targets: string[] = [];
		graph.set(file, targets);
		const room = roomOf(file);
		if (room === undefined) {
			problems.push(`${file}:1: is in no room of scripts/check-boundaries.ts`);
			continue;
		}
		for (const found of findImports(source)) {
			imports++;
			const target = found.specifier === null ? undefined : resolveInside(file, found.specifier);
			if (target !== undefined) targets.push(target);
			const problem = importProblem(file, room, found, target);
			if (problem !== undefined) problems.push(`${file}:${found.line}: ${problem}`);
		}
	}
	for (const circle of findCircles(graph))
		problems.push(`${circle[0]}:1: imports itself by way of ${circle.slice(1).join(' → ')}`);
	return { problems, imports };
}

function importProblem(file: string, room: RoomOfFile, found: FoundImport, target: string | undefined): string | undefined {
	const { specifier } = found;
	if (target === `${packageOf(file)}/package.json`) return undefined;
	if (specifier === null) return 'a computed import cannot be checked; name the module';
	if (target === undefined) return outsideProblem(room, specifier);
	const goal = roomOf(target);
	if (goal === undefined) return `${specifier} leads to ${target}, which is in no room`;
	if (goal.name === room.name) return undefined;
	if (specifier.startsWith('.') && packageOf(target) !== packageOf(file)) {
		return `${specifier} reaches into another package; import it by the package's name`;
	}
	const { rooms, types = [] } = room.rules;
	if (rooms.some((name) => covers(name, goal.name))) return undefined;
	if (types.some((name) => covers(name, goal.name))) {
		return found.typeOnly ? undefined : `${room.name} may only import types of ${goal.name}, with \`import type\``;
	}
	return `${room.name} may not import ${goal.name} (${specifier})`;
}

function outsideProblem(room: RoomOfFile, specifier: string): string | undefined {
	if (specifier.startsWith('node:')) return room.rules.node ? undefined : `${room.name} may not import ${specifier}`;
	const parts = specifier.split('/');
	const name = specifier.startsWith('@') ? parts.slice(0, 2).join('/') : (parts[0] ?? specifier);
	return room.rules.npm.some((allowed) => covers(allowed, name)) ? undefined : `${room.name} may not import ${name}`;
}

interface RoomOfFile {
	readonly name: string;
	readonly rules: Room;
}

function roomOf(file: string): RoomOfFile | undefined {
	for (const rules of ROOMS) {
		const prefix = rules.at.endsWith('/*') ? rules.at.slice(0, -1) : `${rules.at}/`;
		if (file !== rules.at && !file.startsWith(prefix)) continue;
		const inner = file.slice(prefix.length).split('/');
		if (rules.at.endsWith('/*') && inner.length < 2) continue;
		const at = rules.at.endsWith('/*') ? `${prefix}${inner[0]}` : rules.at;
		return { name: at.replace(SERVER, '').replace(/^packages\/(.*)\/src$/, '$1'), rules };
	}
	return undefined;
}

function covers(pattern: string, name: string): boolean {
	return pattern.endsWith('*') ? name.startsWith(pattern.slice(0, -1)) : name === pattern;
}

function packageOf(file: string): string {
	return file.split('/').slice(0, 2).join('/');
}

/** The file that a specifier leads to when it is one of ours. */
function resolveInside(file: string, specifier: string): string | undefined {
	if (specifier.startsWith('.')) return normalize(join(dirname(file), specifier)).replaceAll(sep, '/');
	for (const [name, directory] of PACKAGES) {
		if (specifier.startsWith(`${name}/`)) return `${directory}${specifier.slice(name.length)}.ts`;
	}
	return undefined;
}

/**
 * One alternative per thing that can be met, so that neither a comment nor a text is taken for an import, nor hides one.
 * Import and export statements start a line, which the formatter sees to.
 */
const TOKENS = new RegExp(
	[
		/\/\/[^\n]*|\/\*[\s\S]*?\*\//, // comments
		/^(?:import|(?:import|export)\b(?<type>\s+type\b(?!\s*,|\s+from\b))?[\w$\s{},*]*?\bfrom)\s*(?<quote>['"])(?<from>[^'"\n]+)\k<quote>/,
		/\b(?:import|require)\s*\(\s*(?:\/\*[^*]*\*\/\s*)?(?:(?<quote2>['"`])(?<dynamic>[^'"`\n$]+)\k<quote2>|(?<computed>[^)\s]))/,
		/\bnew\s+URL\(\s*(?<quote3>['"`])(?<url>\.{1,2}\/[^'"`\n$]+\.[cm]?[jt]s)\k<quote3>\s*,\s*import\.meta\.url/,
		/'(?:[^'\\\n]|\\.)*'|"(?:[^"\\\n]|\\.)*"|`(?:[^`\\\n]|\\.)*`/, // texts
	]
		.map((part) => part.source)
		.join('|'),
	'gm',
);

function findImports(source: string): FoundImport[] {
	const found: FoundImport[] = [];
	for (const match of source.matchAll(TOKENS)) {
		const { type, from, dynamic, computed, url } = match.groups ?? {};
		const line = source.slice(0, match.index).split('\n').length;
		if (from !== undefined) found.push({ line, specifier: from, typeOnly: type !== undefined });
		else if (dynamic !== undefined) found.push({ line, specifier: dynamic, typeOnly: false });
		else if (computed !== undefined) found.push({ line, specifier: null, typeOnly: false });
		else if (url !== undefined) found.push({ line, specifier: url, typeOnly: false });
	}
	return found;
}

/** One circle per file at which a walk comes back to its own path: `[a, b, a]` for a ↔ b. */
function findCircles(graph: ReadonlyMap<string, readonly string[]>): string[][] {
	const circles: string[][] = [];
	const done = new Set<string>();
	const path: string[] = [];
	const walk = (file: string) => {
		if (done.has(file)) return;
		const start = path.indexOf(file);
		if (start >= 0) {
			circles.push([...path.slice(start), file]);
			return;
		}
		path.push(file);
		for (const target of graph.get(file) ?? []) walk(target);
		path.pop();
		done.add(file);
	};
	for (const file of graph.keys()) walk(file);
	return circles;
}

function main(): void {
	const root = fileURLToPath(new URL('..', import.meta.url));
	const files = globSync('packages/*/src/**/*.{ts,js}', { cwd: root }).map((file) => file.replaceAll(sep, '/'));
	const report = checkBoundaries(new Map(files.sort().map((file) => [file, readFileSync(join(root, file), 'utf8')])));
	for (const problem of report.problems) console.error(problem);
	console.log(`${files.length} files, ${report.imports} imports, ${report.problems.length} against the table`);
	// Finding nothing to check is a defect of the check.
	if (report.problems.length > 0 || report.imports === 0) process.exitCode = 1;
}

if (import.meta.main) main();
