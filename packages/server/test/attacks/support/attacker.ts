/** The process of an attack: it must not slow down the one that measures. */

import { setPriority } from 'node:os';
import { ATTACKS, type Target } from './attacks.ts';

// The relay and those who measure come first: where cores are few, it is the relay that is attacked and not the machine.
setPriority(19);
const [, , name = '', target = '{}'] = process.argv;
const attack = ATTACKS[name];
if (attack === undefined) throw new Error(`no attack is called ${name}`);
await attack(JSON.parse(target) as Target);
