-- One topic: creates it when there is none, changes it, or only tells.
--
-- KEYS: the stream, the meta hash. ARGV: 'create', 'update' or 'get' · the id of a topic to create · nowMs · names and values of fields
-- to set; an empty value removes the field. Answers 'missing' or { created, id, created at, description, max_age_s, max_messages,
-- max_bytes, tip, floor, length, bytes }, with '' for what is not set. A description is stored behind a '=' so that it may be empty.
local stream, meta = KEYS[1], KEYS[2]
local topic = standing(stream, meta)
local created = 0
if not topic.id then
	if ARGV[1] ~= 'create' then return 'missing' end
	created = 1
	redis.call('HSET', meta, 'id', ARGV[2], 'created', ARGV[3])
	topic.id = ARGV[2]
	writeDown(meta, topic)
end
if created == 1 or ARGV[1] == 'update' then
	for a = 4, #ARGV, 2 do
		if ARGV[a + 1] == '' then redis.call('HDEL', meta, ARGV[a]) else redis.call('HSET', meta, ARGV[a], ARGV[a + 1]) end
	end
end
local fields = redis.call('HMGET', meta, 'created', 'description', 'max_age_s', 'max_messages', 'max_bytes')
return { created, topic.id, fields[1] or '', fields[2] or '', fields[3] or '', fields[4] or '', fields[5] or '', formatId(readable(topic)),
	formatId(topic.floor), topic.length, topic.bytes }
