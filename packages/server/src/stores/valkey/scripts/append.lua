-- Appends to one topic in one step (I9): dedupe, ids, entries, announcement.
--
-- KEYS: the stream, the meta hash and, when a message has a key, the idempotency records (hash), their order (list) and, where it is divided
-- by holder, how many records each holder has and when the oldest of each was made (sorted sets).
-- ARGV: nowMs · the id of a topic to create, '' = do not create · PUBLISH or SPUBLISH, '' = it is announced once replicas have it
-- (confirm.lua) · channel · number of runs · the runs, packed
-- as log/block.ts says · for each message with a key: its place from 0, item, key, fingerprint.
--
-- Answers 'missing' when the topic would have to be created; else
-- { previous, floor, first id, flags, length, bytes, first ids of duplicates … }, where flags has a letter per message: a(ppended),
-- d(uplicate), c(onflict), and is '' when all were appended.
local stream, meta, keys, keyOrder, keyCounts, keyAges = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6]
local nowMs = tonumber(ARGV[1])
local publish, channel = ARGV[3], ARGV[4]
local runs = tonumber(ARGV[5])

local counts, total = {}, 0
for r = 1, runs do
	counts[r] = struct.unpack('<I4', ARGV[5 + r])
	total = total + counts[r]
end

-- Appends after a tip. Answers nil, having done nothing, when the stream has given out ids beyond it.
local function append(topic)
	-- Whether the record that a field names is of another request, and its id.
	local fresh = {}
	local function recordOf(field)
		if fresh[field] then return fresh[field] end
		local text = redis.call('HGET', keys, field)
		if not text then return nil end
		local id, fingerprint = string.match(text, '^(%S+) (.*)$')
		return { id = id, fingerprint = fingerprint }
	end

	local first
	if nowMs > topic.tip.ms then first = { ms = nowMs, n = 0 } else first = { ms = topic.tip.ms, n = topic.tip.n + 1 } end

	local flags, known, appended = {}, {}, total
	local fields = {}
	if #ARGV > 5 + runs then
		local keyed = {}
		for a = 6 + runs, #ARGV, 4 do
			keyed[tonumber(ARGV[a])] = { item = ARGV[a + 1], key = ARGV[a + 2], fingerprint = ARGV[a + 3] }
		end
		appended = 0
		for i = 0, total - 1 do
			local one = keyed[i]
			local flag = 'a'
			if one then
				local field = one.item .. ':' .. one.key
				local same = recordOf(field)
				local head = recordOf('0:' .. one.key)
				if (same and same.fingerprint ~= one.fingerprint) or (head and head.fingerprint ~= one.fingerprint) then
					flag = 'c'
				elseif same then
					flag = 'd'
					known[#known + 1] = same.id
				else
					fresh[field] = { id = formatId({ ms = first.ms, n = first.n + appended }), fingerprint = one.fingerprint }
					fields[#fields + 1] = field
				end
			end
			if flag == 'a' then appended = appended + 1 end
			flags[i + 1] = flag
		end
	end
	local flagText = appended == total and '' or table.concat(flags)

	local previous, floor = formatId(topic.tip), formatId(topic.floor)
	local firstText = formatId(first)
	-- Not by unpack, whose arguments must fit the stack of Lua.
	local answer = { previous, floor, firstText, flagText, topic.length, topic.bytes }
	for i = 1, #known do answer[6 + i] = known[i] end
	if appended == 0 then return answer end
	if not topic.id and ARGV[2] == '' then return 'missing' end
	-- Ids are exact in a double up to here. Only an entry written by hand can have led so far.
	if first.n + appended > 9007199254740991 or first.ms > 9007199254740991 then
		return redis.error_reply('IDSPACE the stream has no ids left')
	end

	-- The first write is the one that can be refused, for lack of memory or of replicas: after it nothing is.
	local n = first.n
	-- Looked up and written out once: this is what the server does most.
	local idStart = string.format('%.0f-', first.ms)
	local pcall, sub, unpackNumbers = redis.pcall, string.sub, struct.unpack
	local bytes = 0
	local at = 0
	for r = 1, runs do
		local packed, count = ARGV[5 + r], counts[r]
		local _, options = struct.unpack('<I4I4', packed)
		local expires = options % 2 == 1
		local base = 8 + 8 * count
		local start = base + (expires and 8 * count or 0)
		local from = 0
		for i = 0, count - 1 do
			local payloadEnd, metadataEnd = unpackNumbers('<I4I4', packed, 9 + 8 * i)
			at = at + 1
			if flagText == '' or flags[at] == 'a' then
				-- `v` says that a relay wrote the entry: its payload has been checked, and need not be by whoever reads it.
				local id = idStart .. (n < 1e14 and n or string.format('%.0f', n))
				local payload = sub(packed, start + from + 1, start + payloadEnd)
				local expiresAtMs = expires and unpackNumbers('<d', packed, base + 8 * i + 1) or 0
				local added
				if metadataEnd == payloadEnd and expiresAtMs == 0 then
					added = pcall('XADD', stream, id, 'v', '1', 'payload', payload)
				else
					local entry = { 'XADD', stream, id, 'v', '1', 'payload', payload }
					if metadataEnd > payloadEnd then
						entry[8] = 'metadata'
						entry[9] = sub(packed, start + payloadEnd + 1, start + metadataEnd)
					end
					if expiresAtMs ~= 0 then
						entry[#entry + 1] = 'expires'
						entry[#entry + 1] = string.format('%.17g', expiresAtMs)
					end
					added = pcall(unpack(entry))
				end
				if type(added) == 'table' and added.err then
					-- Nothing has been written. Ids beyond the tip are given out, though no entry shows it.
					if string.find(added.err, 'equal or smaller', 1, true) then return nil end
					return added
				end
				n = n + 1
				bytes = bytes + (metadataEnd - from) + 16
			end
			from = metadataEnd
		end
	end

	if publish == '' then
		topic.confirmed = topic.confirmed or topic.tip
	elseif topic.confirmed then
		topic.confirmed = nil
		redis.call('HDEL', meta, 'confirmed')
	end
	topic.tip = { ms = first.ms, n = n - 1 }
	topic.length = topic.length + appended
	topic.bytes = topic.bytes + bytes
	answer[5], answer[6] = topic.length, topic.bytes
	if not topic.id then redis.call('HSET', meta, 'id', ARGV[2], 'created', ARGV[1]) end
	writeDown(meta, topic)
	local held = {}
	for _, field in ipairs(fields) do
		redis.call('HSET', keys, field, fresh[field].id .. ' ' .. fresh[field].fingerprint)
		local holder = keyCounts and (string.match(field, '^%d+:(.-)/') or '')
		redis.call('RPUSH', holder and keyOrder .. ':of:' .. holder or keyOrder, ARGV[1] .. ' ' .. field)
		if holder then held[holder] = (held[holder] or 0) + 1 end
	end
	for holder, count in pairs(held) do
		redis.call('ZINCRBY', keyCounts, count, holder)
		redis.call('ZADD', keyAges, 'NX', ARGV[1], holder)
	end

	if publish == '' then return answer end
	-- A large run is announced without its messages: what waits for a subscriber that reads slowly is bounded by the server, which
	-- closes the connection beyond 32 MiB (client-output-buffer-limit). Whoever hears of it reads it.
	local ANNOUNCED_BYTES_MAX = 262144
	local before, next, seen = previous, first.n, 0
	for r = 1, runs do
		local own = flagText == '' and '' or string.sub(flagText, seen + 1, seen + counts[r])
		local _, kept = string.gsub(own, 'a', '')
		if own == '' then kept = counts[r] end
		if kept > 0 then
			local from, to = formatId({ ms = first.ms, n = next }), formatId({ ms = first.ms, n = next + kept - 1 })
			local body = #ARGV[5 + r] <= ANNOUNCED_BYTES_MAX and ARGV[5 + r] or ''
			redis.call(publish, channel, table.concat({ 'a', before, floor, from, to, own }, ' ') .. '\n' .. body)
			next = next + kept
			before = to
		end
		seen = seen + counts[r]
	end
	return answer
end

local topic = standing(stream, meta)
local answer = append(topic)
-- An entry was added by hand and removed again.
if answer == nil then answer = append(reconcile(stream, topic, topic.length)) end
return answer
