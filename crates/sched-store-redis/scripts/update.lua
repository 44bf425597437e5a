-- Updates jobs: id, the revision it was read with, payload, cursor, place of each.
-- Answers 1, 0 for a job that is not there, 2 for one that was changed since.
local past = answered()
if past then return past end
local replies = {}
for at = 2, #ARGV, 5 do
  local id, read, payload, cursor, place = unpack(ARGV, at, at + 4)
  local stored = call('HGET', CURSORS, id)
  if not stored and call('HEXISTS', JOBS, id) == 0 then
    replies[#replies + 1] = 0
  elseif revision(stored) ~= read then
    replies[#replies + 1] = 2
  else
    call('HSET', JOBS, id, payload)
    call('HSET', CURSORS, id, cursor)
    displace(id, stored)
    put({ id }, { place })
    replies[#replies + 1] = 1
  end
end
return answer(replies)
