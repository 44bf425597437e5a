-- Commits claimed jobs. ARGV: who claims runs as they are queued, the lease in microseconds; of each job id, token, cursor ('' to
-- remove it), and for each of its runs an `s` when it is skipped while the job is full, else a `q`; then of each run id and
-- record.
-- Answers 0 for a claim that is not open, else 1, 2 when its run is claimed, or the positions of the runs that were skipped.
local SKIP = byte('s')
local past = answered()
if past then return past end
local ids, bases, count = {}, {}, 0
local at = 4
while at <= #ARGV do
  count = count + 1
  ids[count], bases[count] = ARGV[at], at
  at = at + 4 + 2 * #ARGV[at + 3]
end
local open, end_claims = open_claims(ids, bases)
local stayed, timed, cursors, removed, replies = 0, {}, {}, {}, {}
local others, places = {}, {}
local runs, job_of = new_batch(), {}
for index = 1, count do
  local id, base = ids[index], bases[index]
  if not open[index] then
    replies[index] = 0
  else
    replies[index] = 1
    local cursor = ARGV[base + 2]
    if cursor == '' then
      removed[#removed + 1] = id
    else
      stayed = stayed + 2
      cursors[stayed - 1], cursors[stayed] = id, cursor
      if byte(cursor) == DASH then
        others[#others + 1], places[#places + 1] = id, place_of(cursor)
      else
        timed[#timed + 1] = '0'
        timed[#timed + 1] = sub(cursor, 1, TIME) .. id
      end
    end
    local kinds = ARGV[base + 3]
    for run = 1, #kinds do
      local from = base + 2 + 2 * run
      add(runs, ARGV[from], ARGV[from + 1], byte(kinds, run) == SKIP and index)
      job_of[#job_of + 1] = index
    end
  end
end
send('HSET', CURSORS, cursors)
end_claims()
send('ZADD', RUN_TIMES, timed)
put(others, places)
send('HDEL', CURSORS, removed)
send('HDEL', JOBS, removed)
local skipped, started = admit(runs)
for index, positions in pairs(skipped) do replies[index] = positions end
for token, positions in pairs(started) do
  local claimed = {}
  for index, position in ipairs(positions) do
    claimed[index] = runs.ids[position]
    replies[job_of[position]] = 2
  end
  claim(first_group(token), ARGV[2], text(server_time() + ARGV[3]), claimed)
end
save()
return answer(replies)
