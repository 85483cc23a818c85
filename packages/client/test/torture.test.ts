import { randomInt } from 'node:crypto';
import { test } from 'node:test';
import { torture } from './torture.ts';

test('a relay that dies and a network that breaks lose and double nothing, on any transport', async (t) => {
	const { published, caughtUpMs } = await torture({ seed: randomInt(2 ** 32), steps: 40 });
	t.diagnostic(`${published} messages, caught up after ${Math.round(caughtUpMs)} ms`);
});
