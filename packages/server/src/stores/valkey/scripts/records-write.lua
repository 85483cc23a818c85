#!lua flags=allow-oom
-- Makes all parts of a write to the records, or none. Also when the server is out of memory: a right can be taken away then, too.
--
-- KEYS: the records, their names, their expiries, their meta hash. ARGV: nowMs · PUBLISH or SPUBLISH · channel · what changes, as it is
-- announced · then for each part: put, delete or check · name · what is expected · when it expires, or '-' · value.
-- Answers { version before, version of the write }; or the place of the first part that does not fit, a number.
--
-- A record is '<version> <expires at ms, or -> <value>'. Versions are counted in microseconds, so that a server that has lost its last
-- writes does not give theirs again.
local records, names, expiries, meta = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local now = tonumber(ARGV[1])

local function versionOf(name)
	local text = redis.call('HGET', records, name)
	if not text then return nil end
	local version, expires = string.match(text, '^(%d+) (%S+) ')
	if expires ~= '-' and tonumber(expires) <= now then return nil end
	return version
end

local function fits(expected, version)
	if expected == 'any' then return true end
	if expected == 'absent' then return version == nil end
	if expected == 'present' then return version ~= nil end
	return version == expected
end

for at = 5, #ARGV, 5 do
	if not fits(ARGV[at + 2], versionOf(ARGV[at + 1])) then return (at - 5) / 5 end
end

local previous = redis.call('HGET', meta, 'version') or '0'
local version = string.format('%.0f', math.max(tonumber(previous) + 1, math.floor(now) * 1000))
redis.call('HSET', meta, 'version', version)
for at = 5, #ARGV, 5 do
	local op, name, expires = ARGV[at], ARGV[at + 1], ARGV[at + 3]
	if op == 'put' then
		redis.call('HSET', records, name, version .. ' ' .. expires .. ' ' .. ARGV[at + 4])
		redis.call('ZADD', names, 0, name)
	elseif op == 'delete' then
		redis.call('HDEL', records, name)
		redis.call('ZREM', names, name)
	end
	if op == 'put' and expires ~= '-' then
		redis.call('ZADD', expiries, expires, name)
	elseif op ~= 'check' then
		redis.call('ZREM', expiries, name)
	end
end
redis.call(ARGV[2], ARGV[3], previous .. ' ' .. version .. ' ' .. ARGV[4])
return { previous, version }
