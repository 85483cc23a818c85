-- Takes tokens out of a bucket of a rate limit, into debt where it must. KEYS: the bucket. ARGV: tokens · what it holds when full, which is
-- also what a minute brings. Answers the tokens that are left, times 1000, by the server's clock, which is the same for all nodes. A
-- bucket that is full is not kept.
local spent, full = tonumber(ARGV[1]), tonumber(ARGV[2])
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local tokens = full
local kept = redis.call('GET', KEYS[1])
if kept then
  local left, at = string.match(kept, '^(%S+) (%S+)$')
  tokens = math.min(full, left / 1000 + math.max(0, now - at) * full / 60000)
end
tokens = tokens - spent
if tokens >= full then
  redis.call('DEL', KEYS[1])
elseif spent > 0 then
  redis.call('SET', KEYS[1], string.format('%.0f %.0f', tokens * 1000, now), 'PX', math.ceil((full - tokens) * 60000 / full))
end
return math.floor(tokens * 1000)
