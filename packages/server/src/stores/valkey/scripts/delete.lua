-- Deletes a topic and its messages; what is left in the meta hash is where it ended. A value of another type under one of its keys, which
-- keeps the topic from being used, goes as well.
--
-- KEYS: the stream, the meta hash. ARGV: PUBLISH or SPUBLISH · channel. Answers 'missing' or { tip, id }.
local stream, meta = KEYS[1], KEYS[2]
local function removeForeign(key, reply)
	if type(reply) ~= 'table' or not reply.err then return false end
	redis.call('DEL', key)
	return true
end
local repaired = removeForeign(meta, redis.pcall('HEXISTS', meta, 'id'))
repaired = removeForeign(stream, redis.pcall('XLEN', stream)) or repaired
local topic = standing(stream, meta)
if not topic.id and not repaired then return 'missing' end
redis.call('DEL', stream, meta)
local tip = formatId(topic.tip)
writeDown(meta, { tip = topic.tip, floor = topic.tip, bytes = 0, length = 0, trimmed = 0, losses = '' })
local id = topic.id or ''
redis.call(ARGV[1], ARGV[2], 'd ' .. tip .. ' ' .. id .. '\n')
return { tip, id }
