-- Forgets idempotency records: those from before a time, and of those that are too many the oldest of the holders with most (of a list that is not
-- divided by holder: the oldest). KEYS: the records, their order and, where it is divided, how many each holder has, and when the oldest of each
-- was made. ARGV: from before this time in ms · records to keep at most · entries of lists to go through at most. Answers { forgotten, more }.
local records, order, counts, ages = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local before, recordsMax, budget = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local AT_ONCE = 100
local forgotten, used = 0, 0

-- Forgets the oldest records of a list, so many at most, and only those from before the time, if there is one. Answers how many.
local function forget(list, most, olderThan)
	local fields = {}
	for _, entry in ipairs(redis.call('LRANGE', list, 0, math.min(most, AT_ONCE) - 1)) do
		local atMs, field = string.match(entry, '^(%S+) (.*)$')
		if olderThan and tonumber(atMs) >= olderThan then break end
		fields[#fields + 1] = field
	end
	if #fields == 0 then return 0 end
	redis.call('HDEL', records, unpack(fields))
	redis.call('LPOP', list, #fields)
	forgotten = forgotten + #fields
	used = used + #fields
	return #fields
end

if not counts then
	local aged = 1
	while aged > 0 and used < budget do aged = forget(order, budget - used, before) end
	local left = redis.call('LLEN', order)
	while left > recordsMax and used < budget do
		left = left - forget(order, math.min(left - recordsMax, budget - used))
	end
	return { forgotten, used >= budget and 1 or 0 }
end

local function listOf(holder) return order .. ':of:' .. holder end

-- Writes down what a holder has after records of it were forgotten.
local function settle(holder, count)
	local head = redis.call('LINDEX', listOf(holder), 0)
	if head then
		redis.call('ZINCRBY', counts, -count, holder)
		redis.call('ZADD', ages, string.match(head, '^%S+'), holder)
	else
		redis.call('ZREM', counts, holder)
		redis.call('ZREM', ages, holder)
	end
end

-- Of relays up to 0.3.0 there is one list for all. Its entries are older than those of the holders.
while used < budget do
	local entry = redis.call('RPOP', order)
	if not entry then break end
	used = used + 1
	local atMs, field = string.match(entry, '^(%S+) (.*)$')
	local holder = string.match(field, '^%d+:(.-)/') or ''
	redis.call('LPUSH', listOf(holder), entry)
	redis.call('ZINCRBY', counts, 1, holder)
	redis.call('ZADD', ages, atMs, holder)
end

while used < budget do
	local oldest = redis.call('ZRANGE', ages, 0, 0, 'WITHSCORES')
	if #oldest == 0 or tonumber(oldest[2]) >= before then break end
	local holder = oldest[1]
	settle(holder, forget(listOf(holder), budget - used, before))
end

local excess = redis.call('HLEN', records) - recordsMax
while excess > 0 and used < budget do
	local most = redis.call('ZRANGE', counts, 0, 1, 'REV', 'WITHSCORES')
	if #most == 0 then break end
	-- Down to the one with the second most, or, where many have as many, some of each in turn.
	local over = math.max(tonumber(most[2]) - tonumber(most[4] or 0), math.ceil(excess / redis.call('ZCARD', counts)))
	local count = forget(listOf(most[1]), math.min(over, excess, budget - used))
	settle(most[1], count)
	excess = excess - count
	if count == 0 then break end
end
return { forgotten, used >= budget and 1 or 0 }
