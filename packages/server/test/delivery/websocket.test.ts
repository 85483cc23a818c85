import { websocket } from '../support/readers.ts';
import { deliverySuite } from './delivery-suite.ts';

deliverySuite(websocket);
