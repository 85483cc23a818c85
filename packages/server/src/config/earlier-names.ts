/** Variables of pulsar-relay 0.2 that are no settings here, each with what there is instead. A deployment that sets them still starts. */

export const EARLIER_NAMES: ReadonlyMap<string, string> = new Map([
	['PULSAR_WS_IDLE_SECONDS', 'a WebSocket that is quiet is asked whether it still lives, see PULSAR_WS_PING_INTERVAL'],
	['PULSAR_RATE_LIMIT_STORAGE_URI', 'nodes that share a Valkey share what they must count'],
]);
