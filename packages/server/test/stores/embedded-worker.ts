/** A worker for the tests of the supervisor: answers with what it was sent, and dies when told to. */

import { parentPort } from 'node:worker_threads';

parentPort?.on('message', (message: unknown) => {
	if (message === 'die') throw new Error('told to die');
	if (message === 'exit') process.exit(3);
	if (typeof message === 'object') parentPort?.close();
	else parentPort?.postMessage(message);
});
parentPort?.postMessage({ kind: 'ready', ready: 'at your service' });
