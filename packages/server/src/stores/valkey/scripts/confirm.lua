-- Makes messages readable that the replicas have, and announces them.
--
-- KEYS: the stream, the meta hash. ARGV: the newest such message · PUBLISH or SPUBLISH · channel · announcements.
-- Answers 'ok', or 'lost' when the server is another one by now and does not have it.
local topic = standing(KEYS[1], KEYS[2])
local id = parseId(ARGV[1])
if above(id, topic.tip) then return 'lost' end
if topic.confirmed and above(id, topic.confirmed) then redis.call('HSET', KEYS[2], 'confirmed', ARGV[1]) end
for a = 4, #ARGV do redis.call(ARGV[2], ARGV[3], ARGV[a]) end
return 'ok'
