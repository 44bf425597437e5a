-- Ends runs that wait: the ending, then their ids. Answers of each whether it waited.
local past = answered()
if past then return past end
local ending, ids = ARGV[2], {}
for at = 3, #ARGV do ids[at - 2] = ARGV[at] end
local records, unclaimed, endings = ask('HMGET', RUNS, ids), ask('ZMSCORE', RUN_IDS, ids), ask('HMGET', ENDED, ids)
local all, tries, time = read_all(records), all_tries(ids), server_time()
local finished = match(ending, '^%S+ %S+ (%-?%d+)')
local replies, waited, gone, seen = {}, {}, {}, {}
local kept = { ids = {}, endings = {}, times = {}, expiries = {} }

-- Takes a member out of a set; the set's name is on a list of those that are not empty.
local function leave(key, member, list, name)
  if call('ZREM', key, member) == 0 then return false end
  if call('EXISTS', key) == 0 then call('SREM', list, name) end
  return true
end

for at, id in ipairs(ids) do
  local class, job = all.classes[at], all.jobs[at]
  -- A row that does not decode is set aside when it is due.
  local waits = class and unclaimed[at] and not endings[at] and not seen[id]
  replies[at] = waits and 1 or 0
  if waits then
    seen[id] = true
    waited[#waited + 1] = at
    local member = place_in(records[at]) .. id
    if not leave(WAITING .. class.line, member, LINES, class.line) then
      for _, gate in ipairs({ 'j:' .. job, class.key }) do
        leave(PARKED .. gate, class.line .. '\n' .. member, CROWDED, gate)
      end
    end
    if class.ttl > 0 then
      local index = #kept.ids + 1
      kept.ids[index], kept.times[index], kept.expiries[index] = id, finished, text(time + class.ttl)
      kept.endings[index] = text(tries_of(tries[at])) .. ' ' .. ending
    else
      gone[#gone + 1] = id
    end
    -- It leaves as if it were claimed.
    claim_of(job, 1)
    part(job, all.fires[at], class.ttl > 0)
  end
end
-- One that had been called to a free place leaves it to others. Not before all are out: they may be among those.
if has_parked() then
  for _, at in ipairs(waited) do
    local class, job = all.classes[at], all.jobs[at]
    if job ~= '' and inside_job(job) < class.most then free('j:' .. job, line_up) end
    if class.key ~= NO_GATE and gates[class.key] < class.most_key then free(class.key, line_up) end
  end
end
keep(kept.ids, kept.endings, kept.times, kept.expiries)
send('ZREM', RUN_IDS, gone)
delete(gone)
save()
return answer(replies)
