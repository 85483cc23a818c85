-- Where a topic stands. Put in front of the scripts that need it.
--
-- The meta hash: id (absent when the topic was deleted or never made), created, description, max_age_s, max_messages, max_bytes, and
-- state, in one field because every append reads and writes it: tip, floor, bytes, length (entries the relay left in the stream),
-- trimmed (entries the relay took out of it) and, seldom, losses (position.lua). Whether somebody else has changed the stream is told by its
-- length and by whether it has entries beyond the tip: both are asked for in under a microsecond together, where XINFO takes four and
-- copies two entries. What they miss, an append runs into (append.lua).

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

-- Losses (log/losses.ts), oldest first, each ' <after>:<to>'.
local function parseLosses(text)
	local losses = {}
	for after, to in string.gmatch(text, ' (%S+):(%S+)') do losses[#losses + 1] = { after = parseId(after), to = parseId(to) } end
	return losses
end

-- Those above the floor: below it everybody is told of what was trimmed.
local function formatLosses(losses, floor)
	local text = ''
	for _, loss in ipairs(losses) do
		if above(loss.to, floor) then text = text .. ' ' .. formatId(loss.after) .. ':' .. formatId(loss.to) end
	end
	return text
end

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
	local known = redis.call('HMGET', meta, 'id', 'state')
	local length = redis.call('XLEN', stream)
	local topic = { id = known[1], tip = ZERO, floor = ZERO, bytes = 0, length = 0, trimmed = 0, losses = '' }
	if known[2] then
		local tip, floor, bytes, left, trimmed, losses = string.match(known[2], '^(%S+) (%S+) (%d+) (%d+) (%d+)(.*)$')
		topic.tip, topic.floor, topic.losses = parseId(tip), parseId(floor), losses
		topic.bytes, topic.length, topic.trimmed = tonumber(bytes), tonumber(left), tonumber(trimmed)
	end
	if not topic.id and length == 0 then return topic end
	-- The length alone does not tell: XADD with MAXLEN adds one entry and removes another.
	if topic.length ~= length or redis.call('XREAD', 'COUNT', 1, 'STREAMS', stream, formatId(topic.tip)) then
		return reconcile(stream, topic, length)
	end
	return topic
end

local function writeDown(meta, topic)
	redis.call('HSET', meta, 'state', string.format('%s %s %.0f %.0f %.0f%s', formatId(topic.tip), formatId(topic.floor), topic.bytes,
		topic.length, topic.trimmed, topic.losses))
end
