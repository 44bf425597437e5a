-- Removes jobs. Answers of each whether it was there.
local past = answered()
if past then return past end
local replies = {}
for at = 2, #ARGV do
  local id = ARGV[at]
  displace(id, call('HGET', CURSORS, id))
  replies[#replies + 1] = math.max(call('HDEL', JOBS, id), call('HDEL', CURSORS, id))
end
return answer(replies)
