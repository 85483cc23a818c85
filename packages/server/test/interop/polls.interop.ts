/**
 * The published Python client library, unmodified, while it has no cursor yet: what is published between two of its polls reaches it, through
 * everything that can happen to the relay and to the connection in between.
 */

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { backends } from '../support/backends.ts';
import { installClient, PythonClient } from './python.ts';
import { type Credentials, startWorld, type World } from './world.ts';

const python = installClient();
const SUITE_TIMEOUT_MS = 300_000;

interface Message {
	readonly message_id: string;
	readonly payload: { readonly n: number };
}

const numbersOf = (messages: readonly Message[]) => messages.map(({ payload }) => payload.n);

for (const backend of backends) {
	const skip = backend.unavailable ?? (python.status === 'missing' ? python.reason : false);
	const title = `the Python client library without a cursor, on the ${backend.name} store`;
	if (skip !== false) {
		// As a test, since a suite that is skipped is not counted.
		test(title, { skip }, () => {});
		continue;
	}
	describe(title, { timeout: SUITE_TIMEOUT_MS }, () => {
		let world: World;
		let galaxy: Credentials;
		let client: PythonClient;
		let token: string;
		let count = 0;
		before(async () => {
			world = await startWorld(backend);
			galaxy = await world.person('galaxy');
			token = await world.token(galaxy);
			assert(python.status === 'here');
			client = new PythonClient(python.interpreter);
		});
		after(async () => {
			await client.kill();
			await world.close();
		});

		/** Makes a transport that signs in by password, and a topic that nobody has used. */
		async function newReader(): Promise<{ topic: string; poll(timeout?: number): Promise<readonly Message[]> }> {
			const name = `reader${++count}`;
			const topic = `job_status_update_${count}`;
			await client.make('RelayTransport', name, { relay_url: world.url, ...galaxy });
			return { topic, poll: (timeout = 1) => client.call(`${name}.long_poll`, { topics: [topic], timeout }) };
		}
		const publish = async (topic: string, n: number, more: object = {}) => {
			const made = await world.call('POST', '/api/v1/messages', token, { topic, payload: { n, ...more } });
			assert.equal(made.status, 201, made.text);
		};
		const untilPolled = async (topic: string) => {
			const admin = await world.token(world.admin);
			for (;;) {
				const answer = await world.call('GET', '/messages/poll/stats', admin);
				const { topic_subscriber_counts: counts } = answer.json<{ topic_subscriber_counts: Record<string, number> }>();
				if (Object.keys(counts).some((name) => name.endsWith(`/${topic}`))) return;
			}
		};
		const fails = (poll: Promise<unknown>) => assert.rejects(poll, { name: 'RelayTransportError' });

		test('gets what was published between two polls, and from then on everything once', async () => {
			const { topic, poll } = await newReader();
			assert.deepEqual(await poll(), []);
			await publish(topic, 0);
			assert.deepEqual(numbersOf(await poll()), [0]);
			await publish(topic, 1);
			await publish(topic, 2);
			assert.deepEqual(numbersOf(await poll()), [1, 2]);
			assert.deepEqual(await poll(), []);
		});

		test('gets it over a relay that is killed between the polls', async () => {
			const { topic, poll } = await newReader();
			assert.deepEqual(await poll(), []);
			await publish(topic, 0);
			await world.kill();
			await world.start();
			await publish(topic, 1);
			assert.deepEqual(numbersOf(await poll()), [0, 1]);
		});

		test('gets it over a relay that is killed while it polls for the first time', async () => {
			const { topic, poll } = await newReader();
			const first = fails(poll(30));
			await untilPolled(topic);
			await world.kill();
			await first;
			await world.start();
			await publish(topic, 0);
			assert.deepEqual(numbersOf(await poll()), [0]);
		});

		test('gets an answer again that the network has lost', async () => {
			const { topic, poll } = await newReader();
			const first = fails(poll(30));
			await untilPolled(topic);
			const dropped = world.proxy.dropNextReply();
			await publish(topic, 0);
			await dropped;
			await first;
			await publish(topic, 1);
			assert.deepEqual(numbersOf(await poll()), [0, 1]);
			assert.deepEqual(await poll(), []);
		});

		test('gets an answer again in the middle of which the relay was killed', async () => {
			const { topic, poll } = await newReader();
			const first = fails(poll(30));
			await untilPolled(topic);
			const stopped = world.proxy.stopInNextReply();
			await publish(topic, 0, { stdout: 'x'.repeat(16 * 1024 * 1024) });
			await stopped;
			await world.kill();
			world.proxy.reset();
			await first;
			await world.start();
			await publish(topic, 1);
			// So large a message is an answer by itself.
			assert.deepEqual(numbersOf(await poll(30)), [0]);
			assert.deepEqual(numbersOf(await poll(30)), [1]);
		});

		test('gets an answer again, with each kill and each lost answer, until one arrives', async () => {
			const { topic, poll } = await newReader();
			assert.deepEqual(await poll(), []);
			await publish(topic, 0);
			for (let n = 0; n < 3; n++) {
				const dropped = world.proxy.dropNextReply();
				const lost = fails(poll());
				await dropped;
				if (n === 1) {
					await world.kill();
					await world.start();
				}
				await lost;
			}
			assert.deepEqual(numbersOf(await poll()), [0]);
			assert.deepEqual(await poll(), []);
		});

		test('job handlers that poll the same topic each get what came between their polls', async () => {
			const handlers = [await newReader(), await newReader(), await newReader()];
			const topic = 'shared_status';
			const polls = handlers.map(
				(_, n) => () => client.call<Message[]>(`reader${count - n}.long_poll`, { topics: [topic], timeout: 1 }),
			);
			for (const messages of await Promise.all(polls.map((poll) => poll()))) assert.deepEqual(messages, []);
			await publish(topic, 0);
			for (const poll of polls) {
				assert.deepEqual(numbersOf(await poll()), [0]);
				assert.deepEqual(await poll(), []);
			}
		});

		/**
		 * What the daemon of Pulsar does for as long as it lives: poll, and after an error wait a while. Here the wait is as long as the test
		 * makes it.
		 */
		function startDaemon(poll: (timeout: number) => Promise<readonly Message[]>) {
			const seen: number[] = [];
			let stopped = false;
			let onBackOff: (goOn: () => void) => void = () => {};
			const running = (async () => {
				while (!stopped) {
					try {
						seen.push(...numbersOf(await poll(2)));
					} catch (error) {
						assert.equal((error as Error).name, 'RelayTransportError');
						await new Promise<void>((goOn) => onBackOff(goOn));
					}
				}
			})();
			return {
				seen,
				/** Resolves when it waits after an error, with what ends the wait. */
				backsOff: () =>
					new Promise<() => void>((resolve) => {
						onBackOff = resolve;
					}),
				async stop() {
					stopped = true;
					await running;
				},
			};
		}

		test('a daemon gets the status that is published while it waits after a restart of the relay', async () => {
			const { topic, poll } = await newReader();
			const daemon = startDaemon(poll);
			await untilPolled(topic);
			for (let n = 0; n < 3; n++) {
				const backsOff = daemon.backsOff();
				await world.kill();
				const goOn = await backsOff;
				await world.start();
				// Nothing in the first round: it still has no cursor in the second.
				if (n > 0) await publish(topic, n);
				const polled = untilPolled(topic);
				goOn();
				await polled;
			}
			await daemon.stop();
			assert.deepEqual(daemon.seen, [1, 2]);
		});

		test('a client that signs in anew for each poll, as its tokens live so short, goes on as well', async () => {
			const short = await startWorld(backend, { PULSAR_ACCESS_TOKEN_EXPIRE_MINUTES: '5' });
			try {
				const person = await short.person('hasty');
				await client.make('RelayTransport', 'hasty', { relay_url: short.url, ...person });
				const poll = () => client.call<Message[]>('hasty.long_poll', { topics: ['hasty'], timeout: 1 });
				assert.deepEqual(await poll(), []);
				const message = { topic: 'hasty', payload: { n: 0 } };
				await short.call('POST', '/api/v1/messages', await short.token(person), message);
				await short.kill();
				await short.start();
				assert.deepEqual(numbersOf(await poll()), [0]);
				assert.deepEqual(await poll(), []);
			} finally {
				await short.close();
			}
		});
	});
}
