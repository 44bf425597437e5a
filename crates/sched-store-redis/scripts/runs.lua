-- What scripts about runs share.
--
-- A run is a record in RUNS. While it waits it stands in the line of its executor and task, or is parked at a gate; while it
-- is claimed it is in RUN_CLAIMS ("token attempt owner") and RUN_LEASES; when it is over, in ENDED. A line is ordered by
-- bytes: priority (inverted, 8 hexadecimal digits), scheduled time (16), id.
--
-- A gate lets so many claimed runs through at once: `j:` a job, `t:` a task, `k:` a key. Its crowd counts the claimed runs,
-- and for a job, in units of UNIT, the unfinished ones. A run that its job or key holds back is parked there, so that no
-- claim looks at it again before a place is free; a line whose task is full is passed over as a whole.

local RUNS, RUN_IDS, FIRES = SPACE .. 'runs', SPACE .. 'run_ids', SPACE .. 'fires'
local LINES, CROWDS, CROWDED = SPACE .. 'lines', SPACE .. 'crowds', SPACE .. 'crowded'
local RUN_CLAIMS, RUN_LEASES, TRIES = SPACE .. 'run_claims', SPACE .. 'run_leases', SPACE .. 'tries'
local ENDED, KEPT, ENDS = SPACE .. 'ended', SPACE .. 'kept', SPACE .. 'ends'
local UNIT = 1048576

-- Stands in lists for a gate that a run does not have; its crowd is always empty.
local NO_GATE = ''
local match, sub, char = string.match, string.sub, string.char

-- Place, line, job, key, fire time, the limits of job and key, time to live; the payload follows.
local RECORD = '>c24I4c0I4c0I4c0c16I4I4I8'

-- A record's fields; the first is false when it is none.
local function read(record)
  return pcall(struct.unpack, RECORD, record or '')
end

-- The executor and the task of a line, "7:default:report".
local function names(line)
  local length, rest = match(line, '^(%d+):(.*)$')
  return sub(rest, 1, tonumber(length)), sub(rest, length + 2)
end

local tasks = {}
-- The gate of a line's task.
local function task_gate(line)
  local gate = tasks[line]
  if not gate then
    local _, task = names(line)
    gate = 't:' .. task
    tasks[line] = gate
  end
  return gate
end

-- The gates of a run: of its job, its key and its task.
local function gates_of(line, job, key)
  return job ~= '' and 'j:' .. job or NO_GATE, key ~= '' and 'k:' .. key or NO_GATE, task_gate(line)
end

local crowds, changed = { [NO_GATE] = 0 }, {}

-- Fetches the crowds of gates, at once.
local function look_at(gates)
  local unknown = {}
  for _, gate in ipairs(gates) do
    if not crowds[gate] then
      crowds[gate] = 0
      unknown[#unknown + 1] = gate
    end
  end
  local found = ask('HMGET', CROWDS, unknown)
  for at, gate in ipairs(unknown) do crowds[gate] = tonumber(found[at] or 0) end
end

local function inside(gate) return crowds[gate] % UNIT end

local function change(gate, by)
  if gate == NO_GATE then return end
  crowds[gate] = crowds[gate] + by
  changed[gate] = true
end

local joining = {}

-- Puts a run into its line.
local function line_up(line, member)
  local list = joining[line]
  if not list then
    list = {}
    joining[line] = list
  end
  local count = #list + 2
  list[count - 1], list[count] = '0', member
end

-- Writes crowds and lines.
local function save()
  local set, gone, lines = {}, {}, {}
  local count = 0
  for gate in pairs(changed) do
    if crowds[gate] > 0 then
      count = count + 2
      set[count - 1], set[count] = gate, text(crowds[gate])
    else
      gone[#gone + 1] = gate
    end
  end
  send('HSET', CROWDS, set)
  send('HDEL', CROWDS, gone)
  for line, list in pairs(joining) do
    lines[#lines + 1] = line
    send('ZADD', SPACE .. 'waiting:' .. line, list)
  end
  send('SADD', LINES, lines)
  changed, joining = {}, {}
end

-- Lets parked runs go to their lines, as there is a place: the first of every line, because a line may have to wait for
-- its executor. `to` takes line and member.
local function free(gate, to)
  if gate == NO_GATE or call('SISMEMBER', CROWDED, gate) == 0 then return end
  local key, from, freed = SPACE .. 'parked:' .. gate, '-', {}
  while true do
    local parked = call('ZRANGEBYLEX', key, from, '+', 'LIMIT', 0, 1)[1]
    if not parked then break end
    local line, member = match(parked, '^(.*)\n([^\n]*)$')
    freed[#freed + 1] = parked
    to(line, member)
    from = '(' .. line .. '\n\255'
  end
  send('ZREM', key, freed)
  if call('EXISTS', key) == 0 then call('SREM', CROWDED, gate) end
end

-- Runs to be queued.
local function new_batch()
  return { ids = {}, records = {}, skips = {} }
end

-- `group`: runs of one group are skipped together when their job is full; nil when they never are.
local function add(batch, id, record, group)
  local at = #batch.ids + 1
  batch.ids[at], batch.records[at], batch.skips[at] = id, record, group or false
end

-- Queues runs, except those whose id, or job and fire time, are there. Answers for each group the positions of those that
-- were skipped. A place that was free before the group is enough for all of it. To be followed by `save`.
local function admit(batch)
  local ids, skipped, count = batch.ids, {}, 0
  if #ids == 0 then return skipped end
  local places, lines, fires, gates, limits, indexed = {}, {}, {}, {}, {}, {}
  for at, record in ipairs(batch.records) do
    local _, place, line, job, _, fire, most = read(record)
    places[at], lines[at], limits[at] = place, line, most
    fires[at] = job ~= '' and job .. '\n' .. fire or ''
    gates[at] = job ~= '' and 'j:' .. job or NO_GATE
    indexed[at * 2 - 1], indexed[at * 2] = '0', ids[at]
  end
  local by_fire = ask('SMISMEMBER', FIRES, fires)
  look_at(gates)
  -- That all are new is the rule; only else is it worth to ask which are not. What is left out is taken back below.
  local by_id = {}
  if send('ZADD', RUN_IDS, indexed) < #ids then by_id = ask('HMGET', RUNS, ids) end
  local known, full, first, out = {}, {}, {}, {}
  local records, fired = {}, {}
  for at, id in ipairs(ids) do
    local fire, gate, group = fires[at], gates[at], batch.skips[at]
    if group and full[group] == nil then
      full[group] = gate ~= NO_GATE and math.floor(crowds[gate] / UNIT) >= limits[at]
      first[group] = at
    end
    if by_id[at] or known[id] then
      -- It is there, and stays.
    elseif by_fire[at] == 1 or known[fire] then
      out[#out + 1] = id
    elseif group and full[group] then
      local list = skipped[group] or {}
      skipped[group] = list
      list[#list + 1] = at - first[group] + 1
      out[#out + 1] = id
    else
      count = count + 2
      records[count - 1], records[count] = id, batch.records[at]
      known[id] = true
      line_up(lines[at], places[at] .. id)
      if gate ~= NO_GATE then
        known[fire] = true
        fired[#fired + 1] = fire
        change(gate, UNIT)
      end
    end
  end
  send('HSET', RUNS, records)
  send('SADD', FIRES, fired)
  send('ZREM', RUN_IDS, out)
  return skipped
end

-- The number of attempts so far and the history, as they are stored.
local function tries_of(stored)
  if not stored then return 0, '' end
  local attempt, history = match(stored, '^(%d+)\n(.*)$')
  return tonumber(attempt) or 0, history or ''
end

-- What records say, by position, and a look at their gates; no line for a record that is none.
local function read_all(records)
  local all = { places = {}, lines = {}, jobs = {}, keys = {}, fires = {}, ttls = {} }
  local gates, tasks_of = {}, {}
  for at = 1, #records do
    local is_one, place, line, job, key, fire, _, _, ttl = read(records[at])
    if is_one then
      local of_job, of_key, of_task = gates_of(line, job, key)
      all.places[at], all.lines[at], all.jobs[at], all.keys[at], all.ttls[at] = place, line, of_job, of_key, ttl
      all.fires[at] = job ~= '' and job .. '\n' .. fire
      gates[#gates + 1] = of_job
      if of_key ~= NO_GATE then gates[#gates + 1] = of_key end
      tasks_of[of_task] = true
    end
  end
  for gate in pairs(tasks_of) do gates[#gates + 1] = gate end
  look_at(gates)
  return all
end

-- Ends claims on runs without ending the runs. `changes[at]` has the attempt and the history, and may have a new time.
local function requeue(ids, records, changes)
  local all = read_all(records)
  local tries, fresh, moved = {}, {}, {}
  for at, id in ipairs(ids) do
    local new, line = changes[at], all.lines[at]
    if new.attempt > 0 or new.history ~= '' then
      tries[#tries + 1] = id
      tries[#tries + 1] = new.attempt .. '\n' .. new.history
    else
      fresh[#fresh + 1] = id
    end
    if line then
      local place = all.places[at]
      if new.time then
        place = sub(place, 1, 8) .. new.time
        moved[#moved + 1] = id
        moved[#moved + 1] = place .. sub(records[at], 25)
      end
      line_up(line, place .. id)
      change(task_gate(line), -1)
      change(all.jobs[at], -1)
      change(all.keys[at], -1)
      free(all.jobs[at], line_up)
      free(all.keys[at], line_up)
    end
  end
  send('HSET', RUNS, moved)
  send('HSET', TRIES, tries)
  send('HDEL', TRIES, fresh)
  send('HDEL', RUN_CLAIMS, ids)
  send('ZREM', RUN_LEASES, ids)
end

-- Ends claims, and the runs with them. `all` is what their records say.
local function leave(ids, all)
  send('HDEL', RUN_CLAIMS, ids)
  send('ZREM', RUN_LEASES, ids)
  local is_crowded = call('EXISTS', CROWDED) == 1
  for at = 1, #ids do
    local line, job, key = all.lines[at], all.jobs[at], all.keys[at]
    if line then
      change(task_gate(line), -1)
      change(job, -1 - UNIT)
      change(key, -1)
      if is_crowded then
        free(job, line_up)
        free(key, line_up)
      end
    end
  end
end

-- The attempt of a claim.
local function attempt_of(claim)
  return match(claim or '', '^%d+ (%d+) ') or '0'
end

-- Ends claims whose owner is gone. An attempt that had begun counts.
local function take_back(ids)
  if #ids == 0 then return end
  local claims, tries = ask('HMGET', RUN_CLAIMS, ids), ask('HMGET', TRIES, ids)
  local changes = {}
  for at = 1, #ids do
    local _, history = tries_of(tries[at])
    changes[at] = { attempt = tonumber(attempt_of(claims[at])), history = history }
  end
  requeue(ids, ask('HMGET', RUNS, ids), changes)
end

-- Ends claims whose lease is over. Answers which.
local function take_back_ended(time)
  local all = {}
  repeat
    local ended = call('ZRANGEBYSCORE', RUN_LEASES, '-inf', '(' .. text(time), 'LIMIT', 0, CHUNK)
    take_back(ended)
    for _, id in ipairs(ended) do all[#all + 1] = id end
  until #ended < CHUNK
  return all
end

-- Deletes the rows of runs, and the fire times they had.
local function delete(ids, fires)
  send('HDEL', RUNS, ids)
  send('ZREM', RUN_IDS, ids)
  send('SREM', FIRES, fires)
  if call('EXISTS', TRIES) == 1 then send('HDEL', TRIES, ids) end
end

-- Marks runs as over: each has its attempt and its ending as text, and `times` says when it ended. Those with a time to live
-- are kept until `expiries`.
local function keep(ids, endings, times, expiries)
  local ended, ends, kept = {}, {}, {}
  for at, id in ipairs(ids) do
    ended[at * 2 - 1], ended[at * 2] = id, endings[at]
    ends[at * 2 - 1], ends[at * 2] = times[at], id
    if expiries[at] then
      kept[#kept + 1] = expiries[at]
      kept[#kept + 1] = id
    end
  end
  send('HSET', ENDED, ended)
  send('ZADD', ENDS, ends)
  send('ZADD', KEPT, kept)
end

-- The claims of these tokens that are open: their texts, by position.
local function open_claims(ids, tokens)
  local claims = ask('HMGET', RUN_CLAIMS, ids)
  local seen = {}
  for at, id in ipairs(ids) do
    local claim = claims[at]
    if claim and (seen[id] or match(claim, '^%d+') ~= tokens[at]) then claims[at] = false end
    if claims[at] then seen[id] = true end
  end
  return claims
end
