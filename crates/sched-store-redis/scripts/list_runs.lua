-- Rows of runs by id. ARGV: after which id, at most how many, how many to look at, and what is asked for or '': job, task,
-- phase, the first fire time and the one that is too late (as in a record); or the id of the only one.
-- Answers the last id that was looked at ('' at the end) and rows of id, record, claim, lease, ending, tries. A claim is
-- "token attempt owner".
local after, most, scan, wanted_job, wanted_task = ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4]), ARGV[5], ARGV[6]
local phase, from, till, only = ARGV[7], ARGV[8], ARGV[9], ARGV[10]

-- So many runs that wait are looked through for those of a job, in place of all that are over.
local FEW = 10 * scan

-- The ids of the runs that may wait for a job; nil when they are many.
local function waiting_for(job)
  local keys, count, found = {}, 0, {}
  for _, line in ipairs(call('SMEMBERS', LINES)) do keys[#keys + 1] = WAITING .. line end
  for _, gate in ipairs(call('SMEMBERS', CROWDED)) do
    if gate == 'j:' .. job or sub(gate, 1, 2) == 'k:' then keys[#keys + 1] = PARKED .. gate end
  end
  for _, key in ipairs(keys) do count = count + call('ZCARD', key) end
  if count > FEW then return nil end
  for _, key in ipairs(keys) do
    for _, member in ipairs(call('ZRANGE', key, 0, -1)) do
      local id = sub(match(member, '[^\n]*$'), 25)
      if before(after, id) then found[#found + 1] = id end
    end
  end
  return found
end

local unclaimed
if only == '' and wanted_job ~= '' and (phase == 'queued' or phase == 'running') then
  look_at_jobs({ wanted_job })
  local inside = inside_job(wanted_job)
  local there = phase == 'running' and inside or unfinished(wanted_job) - inside
  if there <= 0 then return { '', {} } end
  if phase == 'running' then unclaimed = {} else unclaimed = waiting_for(wanted_job) end
end

local ids, last, held = { only }, '', {}
if only == '' then
  ids = unclaimed or call('ZRANGEBYLEX', RUN_IDS, '(' .. after, '+', 'LIMIT', 0, scan)
  local is_full = not unclaimed and #ids == scan
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
