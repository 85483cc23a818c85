/**
 * Questions and answers between the benchmark and the processes it starts, over Node's IPC channel. A process that loses the
 * channel exits: nothing outlives the benchmark, however it ends.
 */

import type { ChildProcess } from 'node:child_process';

interface Question {
	readonly id: number;
	readonly op: string;
	readonly argument: unknown;
}

type Answer = { readonly id: number; readonly value: unknown } | { readonly id: number; readonly error: string };

interface Waiting {
	readonly resolve: (value: unknown) => void;
	readonly reject: (error: Error) => void;
}

/** The asking end. */
export class Peer {
	readonly #name: string;
	readonly #child: ChildProcess;
	readonly #waiting = new Map<number, Waiting>();
	#asked = 0;

	constructor(name: string, child: ChildProcess) {
		this.#name = name;
		this.#child = child;
		child.on('message', (answer: Answer) => {
			const waiting = this.#waiting.get(answer.id);
			this.#waiting.delete(answer.id);
			if ('error' in answer) waiting?.reject(new Error(`${name}: ${answer.error}`));
			else waiting?.resolve(answer.value);
		});
		child.on('exit', (code, signal) => {
			for (const { reject } of this.#waiting.values()) reject(new Error(`${name} ended (${signal ?? code})`));
			this.#waiting.clear();
		});
	}

	/** Asks the process. Rejects with its error, or when it ends first. */
	ask(op: string, argument?: unknown): Promise<unknown> {
		if (!this.#child.connected) return Promise.reject(new Error(`${this.#name} is not running`));
		const id = ++this.#asked;
		return new Promise((resolve, reject) => {
			this.#waiting.set(id, { resolve, reject });
			this.#child.send({ id, op, argument } satisfies Question);
		});
	}
}

/** The answering end: one function per question. What it throws is answered as an error. */
export function answer(handlers: Readonly<Record<string, (argument: never) => unknown>>): void {
	process.on('disconnect', () => process.exit());
	process.on('message', ({ id, op, argument }: Question) => {
		void reply(id, async () => handlers[op]?.(argument as never));
	});
}

async function reply(id: number, run: () => Promise<unknown>): Promise<void> {
	let message: Answer;
	try {
		message = { id, value: await run() };
	} catch (error) {
		message = { id, error: error instanceof Error ? error.message : String(error) };
	}
	process.send?.(message);
}
