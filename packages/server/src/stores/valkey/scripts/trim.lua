-- Removes the oldest messages of a topic that retention does not cover.
--
-- KEYS: the stream, the meta hash. ARGV: nowMs · default max_age_s · default max_messages · blocks to remove at most, where the messages
-- of one millisecond count as one · messages to remove at most · PUBLISH or SPUBLISH · channel.
-- Answers 'missing' or { removed, floor, more, length, bytes, blocks }. Reads what it removes, to count its bytes.
local stream, meta = KEYS[1], KEYS[2]
local topic = standing(stream, meta)
if not topic.id then return 'missing' end
local own = redis.call('HMGET', meta, 'max_age_s', 'max_messages', 'max_bytes')
local sinceMs = tonumber(ARGV[1]) - tonumber(own[1] or ARGV[2]) * 1000
local messagesMax = tonumber(own[2] or ARGV[3])
local bytesMax = own[3] and tonumber(own[3]) or math.huge
local blocksMax, removedMax = tonumber(ARGV[4]), tonumber(ARGV[5])

local removed, removedBytes, more, blocks = 0, 0, 0, 0
local last
local cursor = '-'
local done = topic.length == 0
while not done do
	local some = redis.call('XRANGE', stream, cursor, '+', 'COUNT', 32)
	done = #some < 32
	for i = 1, #some do
		local id = parseId(some[i][1])
		if id.ms >= sinceMs and topic.length - removed <= messagesMax and topic.bytes - removedBytes <= bytesMax then
			done = true
			break
		end
		local opensBlock = not last or last.ms ~= id.ms
		if (opensBlock and blocks >= blocksMax) or removed >= removedMax or removedBytes > 8388608 then
			more = 1
			done = true
			break
		end
		removed = removed + 1
		if opensBlock then blocks = blocks + 1 end
		removedBytes = removedBytes + 16
		local fields = some[i][2]
		for f = 1, #fields, 2 do
			if fields[f] == 'payload' or fields[f] == 'metadata' then removedBytes = removedBytes + #fields[f + 1] end
		end
		last = id
		cursor = '(' .. some[i][1]
	end
end
if removed > 0 then
	redis.call('XTRIM', stream, 'MINID', '=', formatId({ ms = last.ms, n = last.n + 1 }))
	topic.length = topic.length - removed
	topic.trimmed = topic.trimmed + removed
	topic.bytes = topic.length == 0 and 0 or math.max(0, topic.bytes - removedBytes)
	topic.floor = last
	if topic.losses ~= '' then topic.losses = formatLosses(parseLosses(topic.losses), last) end
	writeDown(meta, topic)
	redis.call(ARGV[6], ARGV[7], 't ' .. formatId(last) .. '\n')
end
return { removed, formatId(topic.floor), more, topic.length, topic.bytes, blocks }
