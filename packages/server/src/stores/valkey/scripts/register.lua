-- Enters a topic into the list of those that exist, before it is created. KEYS: the list, the ends of deleted topics. ARGV: name · topics
-- at most. Answers 'ok', or 'full' when there is no room.
if redis.call('ZSCORE', KEYS[1], ARGV[1]) then return 'ok' end
if redis.call('ZCARD', KEYS[1]) >= tonumber(ARGV[2]) then return 'full' end
redis.call('ZADD', KEYS[1], 0, ARGV[1])
redis.call('ZREM', KEYS[2], ARGV[1])
return 'ok'
