-- Commits claimed jobs. Of each: id, token, place ('' to remove it), cursor, the number of its runs; then of each run: id,
-- record, `skip` when it is not queued while the job is full.
-- Answers 0 for a claim that is not open, else 1, or the positions of the runs that were skipped.
local past = answered()
if past then return past end
local ids, bases = {}, {}
local at = 2
while at <= #ARGV do
  ids[#ids + 1], bases[#bases + 1] = ARGV[at], at
  at = at + 5 + 3 * ARGV[at + 4]
end
local claims = ask('HMGET', CLAIMS, ids)
local done, stayed, places, cursors, removed, replies, seen = {}, {}, {}, {}, {}, {}, {}
local runs = new_batch()
for index, id in ipairs(ids) do
  local base, claim = bases[index], claims[index]
  if not claim or seen[id] or string.match(claim, '^%d+') ~= ARGV[base + 1] then
    replies[index] = 0
  else
    seen[id], replies[index] = true, 1
    done[#done + 1] = id
    if ARGV[base + 2] == '' then
      removed[#removed + 1] = id
    else
      stayed[#stayed + 1], places[#places + 1] = id, ARGV[base + 2]
      cursors[#cursors + 1] = id
      cursors[#cursors + 1] = ARGV[base + 3]
    end
    for run = base + 5, base + 2 + 3 * ARGV[base + 4], 3 do
      add(runs, ARGV[run], ARGV[run + 1], ARGV[run + 2] == 'skip' and index or nil)
    end
  end
end
send('HSET', CURSORS, cursors)
put(stayed, places)
send('ZREM', LEASES, done)
send('HDEL', CLAIMS, done)
send('HDEL', CURSORS, removed)
send('HDEL', JOBS, removed)
for index, skipped in pairs(admit(runs)) do replies[index] = skipped end
save()
return answer(replies)
