-- Where a topic stands. Put in front of the scripts that need it.
--
-- The meta hash: id (absent when the topic was deleted or never made), created, description, max_age_s, max_messages, max_bytes, and
-- state, in one field because every append reads and writes it: tip, floor, bytes, length (entries the relay left in the stream),
-- trimmed (entries the relay took out of it) and, seldom, losses (position.lua). Where appends wait for replicas there is confirmed, too: the
-- newest message that they are known to have (ADR 0014). Whether somebody else has changed the stream is told by its
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

-- Losses (log/losses.ts), oldest first, each ' <after>:<to>' in the state. Those of messages that somebody removed are also in a field of their
-- own, removals, each ' <to>'.
local function parseLosses(topic)
	local losses = {}
	for after, to in string.gmatch(topic.losses, ' (%S+):(%S+)') do
		local removed = string.find(topic.removals .. ' ', ' ' .. to .. ' ', 1, true) ~= nil
		losses[#losses + 1] = { after = parseId(after), to = parseId(to), removed = removed }
	end
	return losses
end

local function endsAt(losses, id)
	for _, loss in ipairs(losses) do
		if loss.to.ms == id.ms and loss.to.n == id.n then return true end
	end
	return false
end

-- Keeps those above the floor: below it everybody is told of what was trimmed.
local function setLosses(topic, losses)
	topic.losses, topic.removals = '', ''
	for _, loss in ipairs(losses) do
		if above(loss.to, topic.floor) then
			topic.losses = topic.losses .. ' ' .. formatId(loss.after) .. ':' .. formatId(loss.to)
			if loss.removed then topic.removals = topic.removals .. ' ' .. formatId(loss.to) end
		end
	end
end

-- As they are answered: a '!' behind those of messages that somebody removed.
local function lossesText(topic)
	if topic.removals == '' then return topic.losses end
	local text = ''
	for _, loss in ipairs(parseLosses(topic)) do
		text = text .. ' ' .. formatId(loss.after) .. ':' .. formatId(loss.to) .. (loss.removed and '!' or '')
	end
	return text
end

-- Each loss takes part in every append; a topic that has lost messages so often has an operator who knows.
local LOSSES_MAX = 16

-- Enters a loss, in one with those it touches. The log ends there at least: what was lost must not get a successor of the same id (I1), and
-- a relay that had been told of it must not take the end of the log for what it knows.
local function addLoss(topic, loss)
	local losses = {}
	for _, known in ipairs(parseLosses(topic)) do
		if above(known.after, loss.to) or above(loss.after, known.to) then
			losses[#losses + 1] = known
		else
			if above(loss.after, known.after) then loss.after = known.after end
			if above(known.to, loss.to) then loss.to = known.to end
			loss.removed = loss.removed and known.removed
		end
	end
	losses[#losses + 1] = loss
	table.sort(losses, function(a, b) return above(b.after, a.after) end)
	if #losses > LOSSES_MAX then table.remove(losses, 1) end
	setLosses(topic, losses)
	if not above(loss.to, topic.tip) then return end
	topic.tip = loss.to
	if topic.confirmed then topic.confirmed = loss.to end
end

-- The message before an id, or where the log begins.
local function idBefore(stream, topic, idText)
	local entry = redis.call('XREVRANGE', stream, idText, '(' .. formatId(topic.floor), 'COUNT', 1)[1]
	return entry and parseId(entry[1]) or topic.floor
end

-- The newest message that may be read: what replicas may not have yet would vanish with the primary.
local function readable(topic)
	local confirmed = topic.confirmed
	if not confirmed or not above(topic.tip, confirmed) then return topic.tip end
	return above(topic.floor, confirmed) and topic.floor or confirmed
end

local function streamInfo(stream)
	local info = redis.call('XINFO', 'STREAM', stream)
	local fields = {}
	for i = 1, #info, 2 do fields[info[i]] = info[i + 1] end
	return fields
end

-- Takes what an operator did to the stream into account: entries added by hand move the tip, entries removed move the floor to
-- just before the first that is left, or are a loss where others are left before them. Only in the copy that it returns, with
-- the number of those removed; the next append, or the next look, writes it down.
local function reconcile(stream, topic, length)
	local known = topic.length
	topic.length = length
	topic.reconciled = true
	topic.removed = 0
	if length == 0 and redis.call('EXISTS', stream) == 0 then
		topic.removed = known
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
	local isNewlyRemoved = removed > topic.trimmed
	local deleted = info['max-deleted-entry-id']
	if info['entries-added'] < known + topic.trimmed or (first and above(first, topic.tip)) then
		-- Nothing is left of what the relay knew: the stream was deleted and made again, or trimmed of it all.
		floor = topic.tip
		topic.removed = known
	elseif isNewlyRemoved then
		topic.removed = removed - topic.trimmed
		if not first then
			floor = last
		elseif topic.removed == 1 and deleted and above(parseId(deleted), first) then
			-- The one that was removed is known, and is not before the first that is left.
			floor = topic.floor
		elseif first.n > 0 then
			floor = { ms = first.ms, n = first.n - 1 }
		else
			floor = { ms = first.ms - 1, n = 9007199254740991 }
		end
	end
	if above(floor, topic.floor) then topic.floor = floor end
	topic.trimmed = removed
	if known > 0 then topic.bytes = math.floor(topic.bytes * length / known) end
	if above(last, topic.tip) then topic.tip = last end
	-- The server knows the last entry that was removed. Others before it may be gone as well: who passes them is told of this one.
	if isNewlyRemoved and deleted and above(parseId(deleted), topic.floor) then
		addLoss(topic, { after = idBefore(stream, topic, deleted), to = parseId(deleted), removed = true })
	end
	-- An earlier stream was put in the place of the one that had the tip.
	if above(topic.tip, last) and above(topic.tip, topic.floor) and not endsAt(parseLosses(topic), topic.tip) then
		topic.removed = math.max(1, topic.removed)
		local after = above(topic.floor, last) and topic.floor or last
		addLoss(topic, { after = after, to = { ms = topic.tip.ms, n = topic.tip.n + 1 } })
	end
	return topic
end

local function standing(stream, meta)
	local known = redis.call('HMGET', meta, 'id', 'state', 'confirmed', 'removals')
	local length = redis.call('XLEN', stream)
	local topic = { id = known[1], tip = ZERO, floor = ZERO, bytes = 0, length = 0, trimmed = 0, losses = '', removals = known[4] or '' }
	topic.knownRemovals = topic.removals
	if known[3] then topic.confirmed = parseId(known[3]) end
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
	local state = string.format('%s %s %.0f %.0f %.0f%s', formatId(topic.tip), formatId(topic.floor), topic.bytes, topic.length,
		topic.trimmed, topic.losses)
	local removals = topic.removals or ''
	if removals ~= (topic.knownRemovals or '') then
		if removals == '' then redis.call('HDEL', meta, 'removals') else redis.call('HSET', meta, 'removals', removals) end
	end
	if topic.confirmed then
		redis.call('HSET', meta, 'state', state, 'confirmed', formatId(topic.confirmed))
	else
		redis.call('HSET', meta, 'state', state)
	end
end
