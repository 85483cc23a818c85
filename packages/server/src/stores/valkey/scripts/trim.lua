-- Removes the oldest messages of a topic that retention does not cover.
--
-- KEYS: the stream, the meta hash. ARGV: the time by which ages are judged · default max_age_s · default max_messages · blocks to remove at
-- most, where the messages of one millisecond count as one · messages to remove at most · PUBLISH or SPUBLISH · channel · nowMs.
-- Answers 'missing' or { removed, floor, more, length, bytes, blocks, by how many ms ids are ahead of the clock }. Reads what it removes,
-- to count its bytes.
local stream, meta = KEYS[1], KEYS[2]
local topic = standing(stream, meta)
if not topic.id then return 'missing' end
local own = redis.call('HMGET', meta, 'max_age_s', 'max_messages', 'max_bytes', 'arrivals')
local maxAgeMs = tonumber(own[1] or ARGV[2]) * 1000
local sinceMs = tonumber(ARGV[1]) - maxAgeMs
local messagesMax = tonumber(own[2] or ARGV[3])
local bytesMax = own[3] and tonumber(own[3]) or math.huge
local blocksMax, removedMax = tonumber(ARGV[4]), tonumber(ARGV[5])
local nowMs = tonumber(ARGV[8])

-- Ids ahead of the clock say nothing of ages. Then `arrivals` notes now and then where the log ended, each ' <time in ms>:<id>': what is at or
-- before a note is at least as old as the note. The notes are a sixteenth of the age apart, which is how exact that is.
local AHEAD_MS, NOTES_PER_AGE = 60000, 16
local aheadMs = topic.tip.ms - nowMs
local arrived = ZERO

local function noteArrivals()
	local notes, text = {}, ''
	for at, id in string.gmatch(own[4] or '', ' (%d+):(%S+)') do
		local note = { at = tonumber(at), id = parseId(id) }
		-- A note from the future is of a clock that has been set back since.
		if note.at <= nowMs and note.at <= sinceMs and above(note.id, arrived) then arrived = note.id end
		if note.at <= nowMs and above(note.id, topic.floor) then notes[#notes + 1] = note end
	end
	local last = notes[#notes]
	if aheadMs > AHEAD_MS and above(topic.tip, last and last.id or topic.floor) and
		(not last or nowMs - last.at >= maxAgeMs / NOTES_PER_AGE) then
		notes[#notes + 1] = { at = nowMs, id = topic.tip }
	end
	if #notes > 2 * NOTES_PER_AGE then table.remove(notes, 1) end
	for _, note in ipairs(notes) do text = text .. string.format(' %.0f:%s', note.at, formatId(note.id)) end
	if text == (own[4] or '') then return end
	if text == '' then redis.call('HDEL', meta, 'arrivals') else redis.call('HSET', meta, 'arrivals', text) end
end
if aheadMs > AHEAD_MS or own[4] then noteArrivals() end

local removed, removedBytes, more, blocks = 0, 0, 0, 0
local last
local cursor = '-'
local done = topic.length == 0
-- As in read.lua, large entries one by one.
local step = 1
while not done do
	local before = removedBytes
	local some = redis.call('XRANGE', stream, cursor, '+', 'COUNT', step)
	done = #some < step
	for i = 1, #some do
		local id = parseId(some[i][1])
		local isYoung = id.ms >= sinceMs and above(id, arrived)
		if isYoung and topic.length - removed <= messagesMax and topic.bytes - removedBytes <= bytesMax then
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
	step = removedBytes - before < 65536 and math.min(4 * step, 16) or 1
end
if removed > 0 then
	redis.call('XTRIM', stream, 'MINID', '=', formatId({ ms = last.ms, n = last.n + 1 }))
	topic.length = topic.length - removed
	topic.trimmed = topic.trimmed + removed
	topic.bytes = topic.length == 0 and 0 or math.max(0, topic.bytes - removedBytes)
	topic.floor = last
	if topic.losses ~= '' then setLosses(topic, parseLosses(topic)) end
	writeDown(meta, topic)
	redis.call(ARGV[6], ARGV[7], 't ' .. formatId(last) .. '\n')
end
return { removed, formatId(topic.floor), more, topic.length, topic.bytes, blocks, aheadMs > AHEAD_MS and aheadMs or 0 }
