-- Where a topic stands, and whether a message that this node has seen is still there.
--
-- KEYS: the stream, the meta hash. ARGV: the message id to look for, '0-0' = none.
-- Answers { exists, tip, floor, intact }. A message at or below the floor counts as there: it was trimmed, not lost.
local topic = standing(KEYS[1], KEYS[2])
local anchor = parseId(ARGV[1])
local intact = 1
if above(anchor, topic.tip) then
	intact = 0
elseif above(anchor, topic.floor) and above(topic.tip, anchor) and #redis.call('XRANGE', KEYS[1], ARGV[1], ARGV[1]) == 0 then
	intact = 0
end
return { topic.id and 1 or 0, formatId(topic.tip), formatId(topic.floor), intact }
