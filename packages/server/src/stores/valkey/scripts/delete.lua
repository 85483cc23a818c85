-- Deletes a topic and its messages; what is left in the meta hash is where it ended.
--
-- KEYS: the stream, the meta hash. ARGV: PUBLISH or SPUBLISH · channel. Answers 'missing' or { tip, id }.
local stream, meta = KEYS[1], KEYS[2]
local topic = standing(stream, meta)
if not topic.id then return 'missing' end
redis.call('DEL', stream, meta)
local tip = formatId(topic.tip)
writeDown(meta, { tip = topic.tip, floor = topic.tip, bytes = 0, length = 0, trimmed = 0, losses = '' })
redis.call(ARGV[1], ARGV[2], 'd ' .. tip .. ' ' .. topic.id .. '\n')
return { tip, topic.id }
