-- Takes a deleted topic off the list. KEYS: the list, the ends of deleted topics. ARGV: name · nowMs.
redis.call('ZREM', KEYS[1], ARGV[1])
redis.call('ZADD', KEYS[2], ARGV[2], ARGV[1])
return 'ok'
