-- Forgets idempotency records, oldest first. KEYS: the records, their order. ARGV: from before this time in ms · records to keep at most ·
-- records to forget at most. Answers { forgotten, more }.
local before, recordsMax, budget = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local left = redis.call('LLEN', KEYS[2])
local forgotten, more = 0, 0
while left > 0 do
	local head = redis.call('LINDEX', KEYS[2], 0)
	local atMs, field = string.match(head, '^(%S+) (.*)$')
	if tonumber(atMs) >= before and left <= recordsMax then break end
	if forgotten == budget then
		more = 1
		break
	end
	redis.call('HDEL', KEYS[1], field)
	redis.call('LPOP', KEYS[2])
	forgotten = forgotten + 1
	left = left - 1
end
return { forgotten, more }
