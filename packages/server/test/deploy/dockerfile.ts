/** A Dockerfile as its stages and instructions, and the context that it may copy from. */

import assert from 'node:assert/strict';
import { cpSync, globSync, mkdirSync, statSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { ROOT, readText } from './files.ts';

export interface Instruction {
	readonly name: string;
	readonly args: string;
}

export interface Stage {
	readonly image: string;
	readonly name: string | null;
	readonly instructions: readonly Instruction[];
}

/** What a `COPY` copies. */
export interface Copy {
	/** The stage it copies from; null = the context. */
	readonly from: string | null;
	readonly sources: readonly string[];
	readonly target: string;
}

/** The stages of a Dockerfile, in order. Only what ours uses is understood; everything else is a failure. */
export function parseDockerfile(text: string): Stage[] {
	const stages: (Stage & { readonly instructions: Instruction[] })[] = [];
	const lines = text.replace(/^\s*#.*\n/gm, '').replace(/\\\n/g, ' ');
	for (const line of lines.split('\n').filter((one) => one.trim() !== '')) {
		const [, name = '', args = ''] = /^([A-Z]+)\s+(.*\S)\s*$/.exec(line) ?? assert.fail(`not an instruction: ${line}`);
		if (name === 'FROM') {
			const [, image = '', stage] = /^(\S+)(?:\s+AS\s+(\S+))?$/.exec(args) ?? assert.fail(args);
			stages.push({ image, name: stage ?? null, instructions: [] });
		} else {
			const stage = stages.at(-1);
			assert(stage !== undefined, `${name} before the first FROM`);
			stage.instructions.push({ name, args });
		}
	}
	return stages;
}

export function parseCopy(args: string): Copy {
	const words = args.split(/\s+/);
	const from = words[0]?.startsWith('--from=') ? (words.shift()?.slice('--from='.length) ?? null) : null;
	const target = words.pop() ?? '';
	assert(words.length > 0 && words.every((word) => !word.startsWith('--')), `COPY ${args}`);
	return { from, sources: words, target };
}

/** The words of a command in exec form. */
export function execForm(args: string): string[] {
	const command = JSON.parse(args) as unknown;
	assert(Array.isArray(command) && command.every((word) => typeof word === 'string'), `not in exec form: ${args}`);
	return command as string[];
}

/** Copies as `COPY` does: a directory's contents, files by their names, and of the context only what .dockerignore leaves in it. */
export function copyInto(copy: Copy, fromDir: string, toDir: string): void {
	for (const source of copy.sources) {
		const path = join(fromDir, source);
		const isDirectory = statSync(path).isDirectory();
		const into = copy.target.endsWith('/') || copy.target === '.';
		const target = isDirectory || !into ? join(toDir, copy.target) : join(toDir, copy.target, basename(source));
		mkdirSync(dirname(target), { recursive: true });
		const filter = copy.from === null ? (file: string) => isInContext(file.slice(ROOT.length + 1)) : () => true;
		cpSync(path, target, { recursive: true, verbatimSymlinks: true, filter });
	}
}

/** Whether .dockerignore leaves a path of the repository in the context: the last pattern that fits the path, or a directory above it, decides. */
export function isInContext(path: string): boolean {
	const above = path.split('/').map((_, i, parts) => parts.slice(0, i + 1).join('/'));
	let included = true;
	for (const line of readText('.dockerignore').split('\n')) {
		if (line === '' || line.startsWith('#')) continue;
		const pattern = line.replace(/^!/, '');
		if (above.some((part) => matches(part, pattern))) included = line.startsWith('!');
	}
	return included;
}

function matches(path: string, pattern: string): boolean {
	const parts = pattern
		.split('/')
		.map((part) => (part === '**' ? '(?:.*/)?' : `${part.replaceAll('.', '\\.').replaceAll('*', '[^/]*')}/`));
	return new RegExp(`^${parts.join('')}$`).test(`${path}/`);
}

/** The manifests of the workspaces. */
export function workspaceManifests(): string[] {
	return globSync('packages/*/package.json', { cwd: ROOT }).sort();
}
