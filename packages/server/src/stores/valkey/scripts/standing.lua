-- Where a topic stands. Put in front of the scripts that need it.
--
-- The meta hash: id (absent when the topic was deleted or never made), created, description, max_age_s, max_messages, max_bytes,
-- tip, floor, bytes, length (entries the relay left in the stream) and trimmed (entries the relay took out of it). The length
-- tells whether somebody else has changed the stream: it is the one thing that costs nothing to compare.

local function parseId(text)
	local ms, n = string.match(text, '^(%d+)-(%d+)$')
	return { ms = tonumber(ms), n = tonumber(n) }
end

local function formatId(id)
	return string.format('%.0f-%.0f', id.ms, id.n)
end

local function above(a, b)
	if a.ms == b.ms then return a.n > b.n end
	return a.ms > b.ms
end

local ZERO = { ms = 0, n = 0 }

local function streamInfo(stream)
	local info = redis.call('XINFO', 'STREAM', stream)
	local fields = {}
	for i = 1, #info, 2 do fields[info[i]] = info[i + 1] end
	return fields
end

-- Takes what an operator did to the stream into account: entries added by hand move the tip, entries removed move the floor to
-- just before the first that is left. Only in the copy that it returns; the next append writes it down.
local function reconcile(stream, topic, length)
	local before = topic.length
	topic.length = length
	if length == 0 and redis.call('EXISTS', stream) == 0 then
		topic.floor = topic.tip
		topic.bytes = 0
		topic.trimmed = 0
		return topic
	end
	local info = streamInfo(stream)
	local last = parseId(info['last-generated-id'])
	local first = info['first-entry'] and parseId(info['first-entry'][1]) or nil
	-- Servers before 7.0 do not count; no relay runs on them.
	local removed = info['entries-added'] - length
	local floor = topic.floor
	if info['entries-added'] < before + topic.trimmed or (first and above(first, topic.tip)) then
		-- Nothing is left of what the relay knew: the stream was deleted and made again, or trimmed of it all.
		floor = topic.tip
	elseif removed > topic.trimmed then
		if not first then
			floor = last
		elseif first.n > 0 then
			floor = { ms = first.ms, n = first.n - 1 }
		else
			floor = { ms = first.ms - 1, n = 9007199254740991 }
		end
	end
	if above(floor, topic.floor) then topic.floor = floor end
	topic.trimmed = removed
	if before > 0 then topic.bytes = math.floor(topic.bytes * length / before) end
	if above(last, topic.tip) then topic.tip = last end
	return topic
end

local function standing(stream, meta)
	local known = redis.call('HMGET', meta, 'id', 'tip', 'floor', 'bytes', 'length', 'trimmed')
	local length = redis.call('XLEN', stream)
	local topic = {
		id = known[1],
		tip = known[2] and parseId(known[2]) or ZERO,
		floor = known[3] and parseId(known[3]) or ZERO,
		bytes = tonumber(known[4] or 0),
		length = tonumber(known[5] or 0),
		trimmed = tonumber(known[6] or 0),
	}
	if topic.length ~= length and (topic.id or length > 0) then return reconcile(stream, topic, length) end
	return topic
end

local function writeDown(meta, topic)
	redis.call('HSET', meta, 'tip', formatId(topic.tip), 'floor', formatId(topic.floor), 'bytes', topic.bytes, 'length', topic.length,
		'trimmed', topic.trimmed)
end
