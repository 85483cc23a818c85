-- Where a topic stands, and whether a message is still there. What a relay was told of and is not there is written down as a loss, for
-- those who come later: the log that goes on after it does not show the hole. So is what somebody else did to the stream, so that every
-- relay finds the same.
--
-- KEYS: the stream, the meta hash. ARGV: the message id to look for, '0-0' = none · 'announced' when the store has told a relay of it,
-- 'asked' when a client says so, which is not believed.
-- Answers { exists, tip, floor, losses, intact, whether there is a loss yet to be written down, the end of what is not confirmed or '',
-- entries that somebody else has removed, as far as this call has found out }. A message at or below the floor counts as there: it was
-- trimmed, not lost. Of a topic that is gone with its messages the loss is all that there is.
local stream, meta = KEYS[1], KEYS[2]
local topic = standing(stream, meta)
local id = parseId(ARGV[1])
local isAnnounced = ARGV[2] == 'announced'
-- The newest message is looked for unless messages are so large that copying one takes the server more than the rest.
local LARGE_BYTES = 1048576

local function isThere()
	if not above(id, topic.floor) then return true end
	if above(id, topic.tip) then return false end
	for _, loss in ipairs(parseLosses(topic)) do
		if formatId(loss.to) == ARGV[1] then return true end
		if above(id, loss.after) and above(loss.to, id) then return false end
	end
	if not above(topic.tip, id) and topic.bytes > LARGE_BYTES * topic.length then return true end
	return #redis.call('XRANGE', stream, ARGV[1], ARGV[1]) > 0
end

local there = isThere()
local found = { losses = topic.losses, removals = topic.removals, tip = topic.tip, confirmed = topic.confirmed }
local due, removed = 0, 0
if isAnnounced then
	local write = topic.reconciled
	if not there then
		write = true
		addLoss(topic, { after = idBefore(stream, topic, ARGV[1]), to = { ms = id.ms, n = id.n + 1 } })
	elseif topic.confirmed and above(id, topic.confirmed) then
		-- It was confirmed when it was announced, and the server that became the primary since has not heard of that.
		write = true
		topic.confirmed = id
	end
	-- A server without memory or replicas refuses to write.
	if write and pcall(writeDown, meta, topic) then
		removed = topic.removed or 0
	elseif not there then
		topic.losses, topic.removals, topic.tip, topic.confirmed = found.losses, found.removals, found.tip, found.confirmed
		due = 1
	end
end
local tip = readable(topic)
return { topic.id and 1 or 0, formatId(tip), formatId(topic.floor), lossesText(topic), there and 1 or 0, due,
	above(topic.tip, tip) and formatId(topic.tip) or '', removed }
