-- Rows of runs by id. ARGV: after which id, at most how many, how many to look at, and what is asked for or '': job, task,
-- phase, the first fire time and the one that is too late (as in a record); or the id of the only one.
-- Answers the last id that was looked at ('' at the end) and rows of id, record, claim, lease, ending, tries. A claim is
-- "token attempt owner".
local after, most, scan, wanted_job, wanted_task = ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4]), ARGV[5], ARGV[6]
local phase, from, till, only = ARGV[7], ARGV[8], ARGV[9], ARGV[10]

local ids, last, held = { only }, '', {}
if only == '' then
  ids = call('ZRANGEBYLEX', RUN_IDS, '(' .. after, '+', 'LIMIT', 0, scan)
  local is_full = #ids == scan
  -- All that is claimed, because it is not much, and in its place. Lua compares as the server's locale does, but ids have
  -- nothing but hexadecimal digits, and dashes in the same places.
  for _, group in ipairs(call('ZRANGE', RUN_LEASES, 0, -1)) do
    for _, id in ipairs(call('SMEMBERS', GROUP .. group)) do
      held[id] = group
      if after < id then ids[#ids + 1] = id end
    end
  end
  table.sort(ids)
  is_full = is_full or #ids > scan
  for at = #ids, scan + 1, -1 do ids[at] = nil end
  last = is_full and ids[#ids] or ''
end
local records, endings, tries = ask('HMGET', RUNS, ids), ask('HMGET', ENDED, ids), ask('HMGET', TRIES, ids)
if only ~= '' then
  local group = noted(ids, records)[1]
  held[only] = group and call('SISMEMBER', GROUP .. group, only) == 1 and group
end
local rows = {}
for at, id in ipairs(ids) do
  local class, job, fire = read(records[at])
  local group = held[id]
  local stands = endings[at] and 'finished' or group and 'running' or 'queued'
  local wanted = records[at] and (phase == '' or phase == stands)
  if class and wanted then
    wanted = (wanted_job == '' or wanted_job == job) and (wanted_task == '' or 't:' .. wanted_task == class.task)
      and (from == '' or not before(fire, from)) and (till == '' or before(fire, till))
  end
  if wanted then
    local lease, held_by
    if group then
      lease = call('ZSCORE', RUN_LEASES, group)
      held_by = match(group, '^%d+') .. ' ' .. text(tries_of(tries[at]) + 1) .. ' ' .. (call('HGET', RUN_OWNERS, group) or '')
    end
    rows[#rows + 1] = {
      id, records[at], held_by or false, lease and text(tonumber(lease)) or false, endings[at], tries[at],
    }
    if #rows == most then
      last = id
      break
    end
  end
end
return { last, rows }
