-- Replaces stored jobs that were not changed since they were read: id, the revision read, the next one, `keep` when the
-- stored cursor stands, payload, cursor, place of each job. A commit is no change. Answers 1, or 0 for a changed job.
local past = answered()
if past then return past end
local replies = {}
for at = 2, #ARGV, 7 do
  local id, read, following, keep, payload, cursor, place = unpack(ARGV, at, at + 6)
  local stored = call('HGET', CURSORS, id)
  local is_there = stored or call('HEXISTS', JOBS, id) == 1
  if is_there and revision(stored) == read then
    if keep == 'keep' then
      cursor = sub(stored, 1, TIME + 1) .. following .. sub(stored, TIME + 2 + #read)
      place = place_of(stored)
    end
    call('HSET', JOBS, id, payload)
    call('HSET', CURSORS, id, cursor)
    displace(id, stored)
    put({ id }, { place })
    replies[#replies + 1] = 1
  else
    replies[#replies + 1] = 0
  end
end
return answer(replies)
