-- Inserts jobs. ARGV[2]: `replace` when the stored jobs are asked for; then id, payload, cursor, place of each job.
-- Answers 1 for a job that was added; else 0, or the payload and cursor of the one that is there.
local past = answered()
if past then return past end
local ids = {}
for at = 3, #ARGV, 4 do ids[#ids + 1] = ARGV[at] end
local payloads, cursors = ask('HMGET', JOBS, ids), ask('HMGET', CURSORS, ids)
local fresh_payloads, fresh_cursors, added, places, replies, taken = {}, {}, {}, {}, {}, {}
for at, id in ipairs(ids) do
  local base = at * 4
  local payload, cursor = payloads[at], cursors[at]
  if taken[id] then payload, cursor = ARGV[taken[id]], ARGV[taken[id] + 1] end
  if not payload and not cursor then
    taken[id] = base
    added[#added + 1], places[#places + 1] = id, ARGV[base + 2]
    fresh_payloads[#fresh_payloads + 1], fresh_payloads[#fresh_payloads + 2] = id, ARGV[base]
    fresh_cursors[#fresh_cursors + 1], fresh_cursors[#fresh_cursors + 2] = id, ARGV[base + 1]
    replies[at] = 1
  else
    replies[at] = ARGV[2] == 'replace' and { payload or '', cursor or '' } or 0
  end
end
send('HSET', JOBS, fresh_payloads)
send('HSET', CURSORS, fresh_cursors)
put(added, places)
return answer(replies)
