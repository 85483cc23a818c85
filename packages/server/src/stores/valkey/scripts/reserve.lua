-- Reserves a token in each of some buckets, or in none. KEYS: for each bucket, the bucket and who holds tokens of it (sorted set, by when
-- that ends). ARGV: the holder · for how long in ms · what each bucket holds when full. Answers { verdict, thousandths of tokens … }.
local holder, lifetime = ARGV[1], tonumber(ARGV[2])
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local verdict, answer = 'granted', {}
for i = 1, #KEYS, 2 do
	local full = tonumber(ARGV[2 + (i + 1) / 2])
	local tokens = full
	local kept = redis.call('GET', KEYS[i])
	if kept then
		local left, at = string.match(kept, '^(%S+) (%S+)$')
		tokens = math.min(full, left / 1000 + math.max(0, now - at) * full / 60000)
	end
	answer[#answer + 1] = math.floor(tokens * 1000)
	redis.call('ZREMRANGEBYSCORE', KEYS[i + 1], '-inf', now)
	if tokens < 1 then
		verdict = 'empty'
	elseif verdict == 'granted' and tokens - redis.call('ZCARD', KEYS[i + 1]) < 1 then
		verdict = 'busy'
	end
end
if verdict == 'granted' then
	for i = 1, #KEYS, 2 do
		redis.call('ZADD', KEYS[i + 1], now + lifetime, holder)
		redis.call('PEXPIRE', KEYS[i + 1], lifetime)
	end
end
table.insert(answer, 1, verdict)
return answer
