/**
 * `publish {topic, payload, ttl?, metadata?, idempotency_key?, ref?}` → `published {message_id, topic, timestamp, ref}` once the
 * message is stored (I2). Publishes of one connection are stored in the order they came in; their answers keep that order per
 * topic.
 */

import { createHash } from 'node:crypto';
import { RelayError } from '@pulsar-relay/protocol/errors';
import { timestampOf } from '@pulsar-relay/protocol/frames';
import { objectScanner } from '@pulsar-relay/protocol/json-scan';
import { formatMessageId } from '@pulsar-relay/protocol/message-id';
import { parsePublication } from '../../http/publication.ts';
import type { CommandContext } from '../command.ts';
import type { ClientFrame } from '../frame.ts';

