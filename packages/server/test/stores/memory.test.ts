/** The memory store keeps the store contract. It is also the model of the suite, so its cases are what keeps the model honest. */

import { createMemoryStore } from '../../src/stores/memory/store.ts';
import { storeSuite } from './store-suite.ts';

storeSuite({
	name: 'memory',
	durability: 'memory',
	open: ({ clock, topicsMax = 1000 }) => Promise.resolve(createMemoryStore({ clock, topicsMax })),
});
