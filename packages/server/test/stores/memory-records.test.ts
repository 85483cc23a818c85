/** The memory records keep the contract, and are its model. */

import { createMemoryRecords } from '../../src/stores/memory/records.ts';
import { recordsSuite } from './records-suite.ts';

recordsSuite({ name: 'memory records', open: async (clock) => createMemoryRecords({ clock }) });
