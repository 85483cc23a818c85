#!lua flags=allow-oom
-- Removes some records that have expired. One node at a time does so: whoever was first has the next while for itself.
--
-- KEYS: the records, their names, their expiries, their meta hash. ARGV: nowMs · the node · for how long it takes the work, in ms ·
-- records to remove at most. Answers { removed, more }.
local records, names, expiries, meta = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local now, taken, limit = tonumber(ARGV[1]), tonumber(ARGV[3]), tonumber(ARGV[4])

local held = redis.call('HMGET', meta, 'purger', 'purger_until')
local left = tonumber(held[2] or '0') - now
-- More than can have been taken is by a clock that is ahead.
if held[1] and held[1] ~= ARGV[2] and left > 0 and left <= taken then return { 0, 0 } end
redis.call('HSET', meta, 'purger', ARGV[2], 'purger_until', string.format('%.0f', now + taken))

local expired = redis.call('ZRANGE', expiries, '-inf', ARGV[1], 'BYSCORE', 'LIMIT', 0, limit)
for i = 1, #expired do
	redis.call('HDEL', records, expired[i])
	redis.call('ZREM', names, expired[i])
	redis.call('ZREM', expiries, expired[i])
end
return { #expired, #expired == limit and 1 or 0 }
