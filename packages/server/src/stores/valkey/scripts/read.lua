-- A page of the log.
--
-- KEYS: the stream, the meta hash. ARGV: 'after' or 'before' · an id (for before: '+' = from the end) · messages at most · bytes at most
-- Answers { exists, tip, floor, losses, entries as XRANGE gives them, more, the end of what is not confirmed or '' }, oldest first for after, newest first for before. Ends with the
-- entry that reaches the bytes, so the caller cuts; `more` is 1 when it ended for its limits.
local stream = KEYS[1]
local topic = standing(stream, KEYS[2])
local forwards = ARGV[1] == 'after'
local messagesMax, bytesMax = tonumber(ARGV[3]), tonumber(ARGV[4])
local cursor = ARGV[2] == '+' and '+' or '(' .. ARGV[2]
local floorText = formatId(topic.floor)
local tip = readable(topic)
local isConfirmed = not above(topic.tip, tip)
local last = isConfirmed and '+' or formatId(tip)
if not forwards and not isConfirmed and (ARGV[2] == '+' or above(parseId(ARGV[2]), tip)) then cursor = last end
if forwards and above(topic.floor, parseId(ARGV[2])) then cursor = '(' .. floorText end

local entries, bytes, more = {}, 0, 0
-- In steps, because what XRANGE returns is copied whole, which takes the server milliseconds for each megabyte: large entries one by one.
local step = 1
-- Nothing is before 0-0, and XREVRANGE refuses to be asked.
local nothing = not forwards and ARGV[2] == '0-0'
while #entries < messagesMax and not nothing do
	local count = math.min(step, messagesMax - #entries)
	local some
	if forwards then
		some = redis.call('XRANGE', stream, cursor, last, 'COUNT', count)
	else
		some = redis.call('XREVRANGE', stream, cursor, '(' .. floorText, 'COUNT', count)
	end
	local before = bytes
	for i = 1, #some do
		entries[#entries + 1] = some[i]
		for f = 2, #some[i][2], 2 do bytes = bytes + #some[i][2][f] end
		if bytes >= bytesMax then break end
	end
	if bytes >= bytesMax then
		more = 1
		break
	end
	if #some < count then break end
	cursor = '(' .. entries[#entries][1]
	step = bytes - before < 65536 and math.min(4 * step, 16) or 1
end
if #entries >= messagesMax then more = 1 end
local unconfirmed = isConfirmed and '' or formatId(topic.tip)
return { topic.id and 1 or 0, formatId(tip), floorText, lossesText(topic), entries, more, unconfirmed }
