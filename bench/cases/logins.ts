/** What those who sign in by password do to those who are served meanwhile. */

import type { BenchOptions } from '../measure.ts';
import { deliverPaced, PAYLOAD_BYTES } from '../paced.ts';
import { signIn, startRelayWithAccounts } from '../servers/accounts.ts';
import type { ChildServer } from '../servers/child-server.ts';
import { summarise } from '../statistics.ts';
import { type Comparison, LATENCY_COLUMNS, latencyValues, type Outcome, type Section } from '../table.ts';
import { nowMs } from '../timing.ts';

const SOCKETS = 50;
const PER_SECOND = 200;
const LOGINS_PER_SECOND = 50;
/** One after the other in turn, as the machine's speed drifts. */
const ROUNDS = 3;

export async function logins(options: BenchOptions): Promise<Section> {
	const comparisons: Comparison[] = [];
	for (let round = 1; round <= ROUNDS; round++) {
		for (const rate of [0, LOGINS_PER_SECOND]) {
			comparisons.push({ label: `${rate} logins/s, ${round}`, relay: await deliver(options, rate), naive: null });
		}
	}
	return {
		title: `Logins beside ${SOCKETS} sockets x ${PER_SECOND}/s, ${PAYLOAD_BYTES}-byte payloads, all with tokens`,
		columns: [
			{ title: 'logins/s', better: null, digits: 0 },
			{ title: 'delivered/s', better: null, digits: 0 },
			...LATENCY_COLUMNS,
		],
		comparisons,
		notes: ['latency: from the publisher writing the request to a subscriber reading the frame'],
	};
}

async function deliver(options: BenchOptions, rate: number): Promise<Outcome> {
	await using server = await startRelayWithAccounts(options);
	const token = await signIn(server);
	await using signing = new SigningIn(server, rate);
	const shape = { sockets: SOCKETS, perSecond: PER_SECOND, token };
	const { measured, problems } = await deliverPaced([server], options.valkey, shape, options.seconds);
	const { deliveredPerSecond, deliveryLatenciesMs } = measured;
	return { values: [signing.perSecond, deliveredPerSecond, ...latencyValues(summarise(deliveryLatenciesMs))], problems };
}

/** Signs in again and again, so many times a second. */
class SigningIn implements AsyncDisposable {
	readonly #startedMs = nowMs();
	readonly #underWay = new Set<Promise<void>>();
	readonly #timer: NodeJS.Timeout | null;
	#done = 0;
	#failure: unknown = null;

	constructor(server: ChildServer, rate: number) {
		this.#timer = rate === 0 ? null : setInterval(() => this.#signIn(server), 1000 / rate);
	}

	/** Logins that were answered since the start. Throws when one was refused. */
	get perSecond(): number {
		if (this.#failure !== null) throw this.#failure;
		return (this.#done / (nowMs() - this.#startedMs)) * 1000;
	}

	#signIn(server: ChildServer): void {
		const login: Promise<void> = signIn(server)
			.then(
				() => void this.#done++,
				(error: unknown) => {
					this.#failure ??= error;
				},
			)
			.finally(() => this.#underWay.delete(login));
		this.#underWay.add(login);
	}

	async [Symbol.asyncDispose](): Promise<void> {
		if (this.#timer !== null) clearInterval(this.#timer);
		await Promise.all(this.#underWay);
	}
}
