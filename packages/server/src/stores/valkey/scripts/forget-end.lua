-- Forgets where a deleted topic ended, unless it exists again. KEYS: the stream, the meta hash, and on a
-- Cluster the topic's idempotency records.
if redis.call('HEXISTS', KEYS[2], 'id') == 1 then return 0 end
return redis.call('DEL', unpack(KEYS))
