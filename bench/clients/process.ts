/** The process of a load generator: publishes, subscribes, or both, as the benchmark tells it. */

import { answer } from '../ipc.ts';
import { Publisher, type PublishJob } from './publisher.ts';
import { type SubscribeJob, Subscribers } from './subscribers.ts';

function serve(): void {
	let publisher: Publisher | null = null;
	let subscribers: Subscribers | null = null;
	const slowest = () => subscribers?.slowest ?? 0;
	answer({
		async publish(job: PublishJob) {
			publisher = await Publisher.start(job, slowest);
		},
		async subscribe(job: SubscribeJob) {
			subscribers = await Subscribers.start(job);
		},
		publishMark: () => started(publisher).mark(),
		subscribeMark: () => started(subscribers).mark(),
		close: () => subscribers?.close(),
		finish: () => started(publisher).finish(),
		stop: () => started(publisher).stop(),
		received: ({ each, timeoutMs }: { each: number; timeoutMs: number }) => started(subscribers).received(each, timeoutMs),
	});
}

function started<T>(load: T | null): T {
	if (load === null) throw new Error('not started');
	return load;
}

serve();
