-- Where a topic stands, and whether a message is still there. What a relay was told of and is not there is written down as a loss, for
-- those who come later: the log that goes on after it does not show the hole.
--
-- KEYS: the stream, the meta hash. ARGV: the message id to look for, '0-0' = none · 'announced' when the store has told a relay of it,
-- 'asked' when a client says so, which is not believed.
-- Answers { exists, tip, floor, losses, intact, whether there is a loss yet to be written down }. A message at or below the floor counts as
-- there: it was trimmed, not lost. Of a topic that is gone with its messages the loss is all that there is.
local stream, meta = KEYS[1], KEYS[2]
local topic = standing(stream, meta)
local id = parseId(ARGV[1])
-- Each takes part in every append; a topic that has lost messages so often has an operator who knows.
local LOSSES_MAX = 16

local function isThere()
	if not above(id, topic.floor) then return true end
	if above(id, topic.tip) then return false end
	for _, loss in ipairs(parseLosses(topic.losses)) do
		if formatId(loss.to) == ARGV[1] then return true end
		if above(id, loss.after) and above(loss.to, id) then return false end
	end
	return not above(topic.tip, id) or #redis.call('XRANGE', stream, ARGV[1], ARGV[1]) > 0
end

-- The loss ends just after the message, and so does the log at least: what was lost must not get a successor of the same id (I1), and
-- another relay that had been told of it must not take the end of the log for what it knows.
local function writeDownLoss()
	local before = redis.call('XREVRANGE', stream, ARGV[1], '(' .. formatId(topic.floor), 'COUNT', 1)[1]
	local loss = { after = before and parseId(before[1]) or topic.floor, to = { ms = id.ms, n = id.n + 1 } }
	local losses = {}
	for _, known in ipairs(parseLosses(topic.losses)) do
		if above(known.after, loss.to) or above(loss.after, known.to) then
			losses[#losses + 1] = known
		else
			if above(loss.after, known.after) then loss.after = known.after end
			if above(known.to, loss.to) then loss.to = known.to end
		end
	end
	losses[#losses + 1] = loss
	table.sort(losses, function(a, b) return above(b.after, a.after) end)
	if #losses > LOSSES_MAX then table.remove(losses, 1) end
	topic.losses = formatLosses(losses, topic.floor)
	if above(loss.to, topic.tip) then topic.tip = loss.to end
	writeDown(meta, topic)
end

local known = { losses = topic.losses, tip = topic.tip }
local there, due = isThere(), 0
if not there and ARGV[2] == 'announced' then
	-- A server without memory or replicas refuses to write.
	local done = pcall(writeDownLoss)
	if not done then
		topic.losses, topic.tip = known.losses, known.tip
		due = 1
	end
end
return { topic.id and 1 or 0, formatId(topic.tip), formatId(topic.floor), topic.losses, there and 1 or 0, due }
