-- What scripts about runs share.
--
-- A run is a record in RUNS, which is written once, and has an id in RUN_IDS while it is not claimed. While it waits it stands
-- in the line of its executor and task, or is parked at a gate; while it is claimed it is in a group; when it is over, in
-- ENDED. A line is ordered by bytes: priority (inverted, 8 hexadecimal digits), scheduled time (16), id.
--
-- A group is what was claimed at once and has one lease: its ids, its end in RUN_LEASES, its owner in RUN_OWNERS. It is named
-- by the token, which for runs that were claimed as they were queued is FIRST with the token of the claim on their jobs
-- behind it. A run that is not renewed with the others gets a group of its own. GROUPS says which group a run is in, unless
-- its record does.
--
-- A gate lets so many claimed runs through at once: `j:` a job, `t:` a task, `k:` a key. CROWDS has the runs of jobs: the fire
-- time of the only one with `c` (claimed) or `w`, or else the number that is claimed and, in units of UNIT, of all; GATES has
-- the claimed runs of tasks and keys. A run that its job or key holds back is parked there, so that no claim looks at it again
-- before a place is free; a line whose task is full is passed over as a whole. FIRES has jobs with fire times that are taken,
-- except those of only runs.

local RUNS, RUN_IDS, FIRES = SPACE .. 'runs', SPACE .. 'run_ids', SPACE .. 'fires'
local LINES, CROWDS, GATES, CROWDED = SPACE .. 'lines', SPACE .. 'crowds', SPACE .. 'gates', SPACE .. 'crowded'
local RUN_LEASES, RUN_OWNERS, GROUPS = SPACE .. 'run_leases', SPACE .. 'run_owners', SPACE .. 'groups'
local TRIES, ENDED, KEPT, ENDS = SPACE .. 'tries', SPACE .. 'ended', SPACE .. 'kept', SPACE .. 'ends'
local GROUP, WAITING, PARKED = SPACE .. 'group:', SPACE .. 'waiting:', SPACE .. 'parked:'
local UNIT = 1048576

-- The token of runs that were claimed as they were queued.
local FIRST = '1'

-- Stands in lists for a gate that a run does not have; it is always open.
local NO_GATE = ''

-- The executor and the task of a line, "7:default:report".
local function names(line)
  local length, rest = match(line, '^(%d+):(.*)$')
  if length then return sub(rest, 1, tonumber(length)), sub(rest, length + 2) end
end

-- A record is the token of the claim on its job if it was to be claimed as it was queued (20 bytes, or blanks), its place (24),
-- the lengths of the class and of the job's id, these two, the fire time (16), and the payload. A class is what runs of a job, and mostly of a task,
-- have in common: the limits of job and key, the time to live, the line, the key.
local PLACE, LENGTHS, CLASS, FIRE = 21, 45, 49, 16

local classes = {}
local function class_of(text)
  local class = classes[text]
  if class == nil then
    local is_one, most, most_key, ttl, line, at = pcall(struct.unpack, '>I4I4I8I2c0', text)
    local executor, task
    if is_one then executor, task = names(line) end
    class = executor and {
      line = line, executor = executor, task = 't:' .. task, most = most, most_key = most_key, ttl = ttl,
      key = #text >= at and 'k:' .. sub(text, at) or NO_GATE,
    } or false
    classes[text] = class
  end
  return class
end

-- A record's class, its job ('' for none), its fire time; nothing when it is no record.
local function read(record)
  if not record or #record < CLASS then return end
  local high, low, top, bottom = byte(record, LENGTHS, LENGTHS + 3)
  local job = CLASS + high * 256 + low
  local fire = job + top * 256 + bottom
  if #record < fire + FIRE - 1 then return end
  local class = class_of(sub(record, CLASS, job - 1))
  if class then return class, sub(record, job, fire - 1), sub(record, fire, fire + FIRE - 1) end
end

-- Where a record's run stands in its line.
local function place_in(record)
  return record and sub(record, PLACE, LENGTHS - 1)
end

-- What is known of jobs' runs: false for none, the text of an only one, or numbers; and of whom it was changed.
local crowds, stirred = { [''] = false }, {}
local gates, changed = { [NO_GATE] = 0 }, {}
local joining, taken, given, has_taken = {}, {}, {}, {}

-- Fetches the crowds of jobs, at once.
local function look_at_jobs(jobs)
  local found = ask('HMGET', CROWDS, jobs)
  for at = 1, #jobs do
    local job, stored = jobs[at], found[at]
    if crowds[job] == nil then
      if stored and #stored ~= FIRE + 1 then
        stored = { all = math.floor(stored / UNIT), claimed = stored % UNIT }
      end
      crowds[job] = stored
    end
  end
end

-- Fetches the numbers at gates, at once.
local function look_at(list)
  local unknown = {}
  for _, gate in ipairs(list) do
    if not gates[gate] then
      gates[gate] = 0
      unknown[#unknown + 1] = gate
    end
  end
  local found = ask('HMGET', GATES, unknown)
  for at, gate in ipairs(unknown) do gates[gate] = tonumber(found[at] or 0) end
end

local function change(gate, by)
  if gate == NO_GATE then return end
  gates[gate] = gates[gate] + by
  changed[gate] = true
end

-- How many runs of a job are claimed.
local function inside_job(job)
  local crowd = crowds[job]
  if not crowd then return 0 end
  if type(crowd) == 'string' then return sub(crowd, -1) == 'c' and 1 or 0 end
  return crowd.claimed
end

-- How many runs of a job are unfinished.
local function unfinished(job)
  local crowd = crowds[job]
  if not crowd then return 0 end
  return type(crowd) == 'string' and 1 or crowd.all
end

-- Whether the only run of a job is that of a fire time.
local function is_only(crowd, fire)
  return type(crowd) == 'string' and sub(crowd, 1, FIRE) == fire
end

local function take_fire(job, fire)
  taken[#taken + 1] = job .. fire
  has_taken[job .. fire] = true
end

-- One more run of a job.
local function join(job, fire, is_claimed)
  if job == '' then return end
  local crowd = crowds[job]
  stirred[#stirred + 1] = job
  if not crowd then
    crowds[job] = fire .. (is_claimed and 'c' or 'w')
    return
  end
  if type(crowd) == 'string' then
    take_fire(job, sub(crowd, 1, FIRE))
    crowd = { all = 1, claimed = inside_job(job) }
    crowds[job] = crowd
  end
  take_fire(job, fire)
  crowd.all = crowd.all + 1
  crowd.claimed = crowd.claimed + (is_claimed and 1 or 0)
end

-- One run of a job more, or less, is claimed.
local function claim_of(job, by)
  local crowd = crowds[job]
  if not crowd then return end
  stirred[#stirred + 1] = job
  if type(crowd) == 'string' then
    crowds[job] = sub(crowd, 1, FIRE) .. (by > 0 and 'c' or 'w')
  else
    crowd.claimed = crowd.claimed + by
  end
end

-- A claimed run of a job is over. Its fire time stays taken when its row is kept.
local function part(job, fire, is_kept)
  if job == '' then return end
  local crowd = crowds[job]
  if type(crowd) == 'table' then
    if not is_kept then given[#given + 1] = job .. fire end
    crowd.all, crowd.claimed = crowd.all - 1, crowd.claimed - 1
    if crowd.all <= 0 then crowds[job] = false end
  else
    if is_kept then take_fire(job, fire) end
    crowds[job] = false
  end
  stirred[#stirred + 1] = job
end

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

-- Writes what was changed at gates and in lines.
local function save()
  local set, gone, count = {}, {}, 0
  for at = 1, #stirred do
    local job = stirred[at]
    local crowd = crowds[job]
    if crowd then
      count = count + 2
      set[count - 1] = job
      set[count] = type(crowd) == 'string' and crowd or text(crowd.all * UNIT + crowd.claimed)
    else
      gone[#gone + 1] = job
    end
  end
  send('HSET', CROWDS, set)
  send('HDEL', CROWDS, gone)
  set, gone = {}, {}
  for gate in pairs(changed) do
    if gates[gate] > 0 then
      set[#set + 1] = gate
      set[#set + 1] = text(gates[gate])
    else
      gone[#gone + 1] = gate
    end
  end
  send('HSET', GATES, set)
  send('HDEL', GATES, gone)
  local lines = {}
  for line, list in pairs(joining) do
    lines[#lines + 1] = line
    send('ZADD', WAITING .. line, list)
  end
  send('SADD', LINES, lines)
  send('SREM', FIRES, given)
  send('SADD', FIRES, taken)
  stirred, changed, joining, taken, given = {}, {}, {}, {}, {}
end

local is_crowded
-- Whether any run is parked.
local function has_parked()
  if is_crowded == nil then is_crowded = call('EXISTS', CROWDED) == 1 end
  return is_crowded
end

-- Lets parked runs go to their lines, as there is a place: the first of every line, because a line may have to wait for
-- its executor. `to` takes line and member.
local function free(gate, to)
  if gate == NO_GATE or call('SISMEMBER', CROWDED, gate) == 0 then return end
  local key, from, freed = PARKED .. gate, '-', {}
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

-- `group`: runs of one group are skipped together when their job is full; false when they never are.
local function add(batch, id, record, group)
  local at = #batch.ids + 1
  batch.ids[at], batch.records[at], batch.skips[at] = id, record, group or false
end

-- Which fire times of jobs are taken, but for those of only runs.
local function taken_fires(jobs, fires)
  if call('EXISTS', FIRES) == 0 then return {} end
  local members = {}
  for at = 1, #jobs do members[at] = jobs[at] .. fires[at] end
  return ask('SMISMEMBER', FIRES, members)
end

-- Queues runs, except those whose id, or job and fire time, are there. Answers for each group the positions of those that
-- were skipped, and the positions in the batch of those that wish to be claimed and are the only ones of their jobs, by the
-- token of the claim on their jobs. A place that was free before the group is enough for all of it. To be followed by `save`.
local function admit(batch)
  local ids, records, skipped, started = batch.ids, batch.records, {}, {}
  if #ids == 0 then return skipped, started end
  local of, jobs, fires = {}, {}, {}
  for at = 1, #ids do of[at], jobs[at], fires[at] = read(records[at]) end
  look_at_jobs(jobs)
  local by_fire, known, full, first = taken_fires(jobs, fires), {}, {}, {}
  local by_id = ask('HMGET', RUNS, ids)
  local rows, indexed, count = {}, {}, 0
  for at = 1, #ids do
    local id, job, fire, group = ids[at], jobs[at], fires[at], batch.skips[at]
    local crowd = crowds[job]
    if group and full[group] == nil then
      full[group] = crowd and unfinished(job) >= of[at].most or false
      first[group] = at
    end
    if by_id[at] or known[id] then
      -- It is there, and stays.
    elseif job ~= '' and (by_fire[at] == 1 or crowd and (is_only(crowd, fire) or has_taken[job .. fire])) then
      -- Its fire time is taken.
    elseif group and full[group] then
      local list = skipped[group] or {}
      skipped[group] = list
      list[#list + 1] = at - first[group] + 1
    else
      local record, class = records[at], of[at]
      count = count + 2
      rows[count - 1], rows[count] = id, record
      known[id] = true
      local starts = byte(record, PLACE - 1) ~= BLANK and not crowd
      if starts then
        local token = sub(record, 1, PLACE - 1)
        local list = started[token] or {}
        started[token] = list
        list[#list + 1] = at
        if not gates[class.task] then look_at({ class.task }) end
        change(class.task, 1)
      else
        indexed[#indexed + 1] = '0'
        indexed[#indexed + 1] = id
        line_up(class.line, place_in(record) .. id)
      end
      join(job, fire, starts)
    end
  end
  send('HSET', RUNS, rows)
  send('ZADD', RUN_IDS, indexed)
  return skipped, started
end

-- The number of attempts so far and the history, as they are stored.
local function tries_of(stored)
  if not stored then return 0, '' end
  local attempt, history = match(stored, '^(%d+)\n(.*)$')
  return tonumber(attempt) or 0, history or ''
end

-- The tries of runs; most queues have none.
local function all_tries(ids)
  return call('EXISTS', TRIES) == 1 and ask('HMGET', TRIES, ids) or {}
end

-- Puts runs that wait nowhere any more into a group.
local function claim(group, owner, lease_end, ids)
  send('SADD', GROUP .. group, ids)
  call('ZADD', RUN_LEASES, lease_end, group)
  call('HSET', RUN_OWNERS, group, owner)
end

-- Notes the group of runs whose records do not say it.
local function note(ids, group)
  local list = {}
  for at = 1, #ids do list[at * 2 - 1], list[at * 2] = ids[at], group end
  send('HSET', GROUPS, list)
end

-- The group that a token of a claim on jobs, as it is in a record, stands for.
local function first_group(token)
  return FIRST .. ':' .. (match(token, '%d+') or '')
end

-- The group that each run may be in, as GROUPS or its record says; false where neither does.
local function noted(ids, records)
  local groups = call('EXISTS', GROUPS) == 1 and ask('HMGET', GROUPS, ids) or {}
  local by_token = {}
  for at = 1, #ids do
    local record = records[at]
    if not groups[at] and record and byte(record, PLACE - 1) ~= BLANK then
      local token = sub(record, 1, PLACE - 1)
      by_token[token] = by_token[token] or first_group(token)
      groups[at] = by_token[token]
    end
    groups[at] = groups[at] or false
  end
  return groups
end

-- The group of each claim that is open, by position; false for others.
local function groups_of(ids, tokens, records)
  local groups, of_group = noted(ids, records), {}
  for at = 1, #ids do
    local group = groups[at]
    if group then
      local list = of_group[group]
      if not list then
        list = { token = match(group, '^%d+'), ids = {}, places = {} }
        of_group[group] = list
      end
      if list.token == tokens[at] then
        local index = #list.ids + 1
        list.ids[index], list.places[index] = ids[at], at
      end
      groups[at] = false
    end
  end
  for group, list in pairs(of_group) do
    for index, is_in in ipairs(ask('SMISMEMBER', GROUP .. group, list.ids)) do
      groups[list.places[index]] = is_in == 1 and group
    end
  end
  return groups
end

-- The same, but of a claim that is named twice only the first is open.
local function groups_once(ids, tokens, records)
  local groups, seen = groups_of(ids, tokens, records), {}
  for at = 1, #ids do
    local id = ids[at]
    if groups[at] then
      if seen[id] then groups[at] = false end
      seen[id] = true
    end
  end
  return groups
end

-- Takes runs out of their groups, which end with their last runs.
local function leave_groups(ids, groups)
  local by_group = {}
  for at = 1, #ids do
    local list = by_group[groups[at]]
    if not list then
      list = {}
      by_group[groups[at]] = list
    end
    list[#list + 1] = ids[at]
  end
  for group, list in pairs(by_group) do
    local key = GROUP .. group
    local is_all = call('SCARD', key) <= #list
    if is_all then
      call('UNLINK', key)
      call('ZREM', RUN_LEASES, group)
      call('HDEL', RUN_OWNERS, group)
    else
      send('SREM', key, list)
    end
  end
  if call('EXISTS', GROUPS) == 1 then send('HDEL', GROUPS, ids) end
end

-- What records say, by position, and a look at their jobs and gates; false for the class of a record that is none.
local function read_all(records)
  local all, seen, list = { classes = {}, jobs = {}, fires = {} }, {}, {}
  for at = 1, #records do
    local class, job, fire = read(records[at])
    all.classes[at], all.jobs[at], all.fires[at] = class or false, job or '', fire
    if class and not seen[class] then
      seen[class] = true
      list[#list + 1] = class.task
      list[#list + 1] = class.key
    end
  end
  look_at_jobs(all.jobs)
  look_at(list)
  return all
end

-- Lets go of a claim's places at the gates.
local function open_gates(class, job)
  change(class.task, -1)
  change(class.key, -1)
  if not has_parked() then return end
  if job ~= '' then free('j:' .. job, line_up) end
  free(class.key, line_up)
end

-- Runs whose claims ended, and which have not, wait again. `changes[at]` may have the attempt and the history, and a new time.
local function requeue(ids, records, changes)
  local all = read_all(records)
  local tries, moved, indexed = {}, {}, {}
  for at, id in ipairs(ids) do
    local new, class, job = changes[at], all.classes[at], all.jobs[at]
    if new.attempt then
      tries[#tries + 1] = id
      tries[#tries + 1] = new.attempt .. '\n' .. new.history
    end
    indexed[at * 2 - 1], indexed[at * 2] = '0', id
    if class then
      local place = place_in(records[at])
      if new.time then
        place = sub(place, 1, 8) .. new.time
        moved[#moved + 1] = id
        moved[#moved + 1] = sub(records[at], 1, PLACE - 1) .. place .. sub(records[at], LENGTHS)
      end
      line_up(class.line, place .. id)
      claim_of(job, -1)
      open_gates(class, job)
    end
  end
  send('HSET', RUNS, moved)
  send('HSET', TRIES, tries)
  send('ZADD', RUN_IDS, indexed)
end

-- Ends the claims of a group whose owner is gone. An attempt that had begun counts.
local function take_back(group)
  local ids = call('SMEMBERS', GROUP .. group)
  if #ids == 0 then return ids end
  local tries, changes, groups = all_tries(ids), {}, {}
  for at = 1, #ids do
    local attempt, history = tries_of(tries[at])
    changes[at], groups[at] = { attempt = attempt + 1, history = history }, group
  end
  requeue(ids, ask('HMGET', RUNS, ids), changes)
  leave_groups(ids, groups)
  return ids
end

-- Ends claims whose lease is over. Answers which.
local function take_back_ended(time)
  local all = {}
  for _, group in ipairs(call('ZRANGEBYSCORE', RUN_LEASES, '-inf', '(' .. text(time))) do
    for _, id in ipairs(take_back(group)) do all[#all + 1] = id end
  end
  return all
end

-- Deletes the rows of runs.
local function delete(ids)
  send('HDEL', RUNS, ids)
  if call('EXISTS', TRIES) == 1 then send('HDEL', TRIES, ids) end
end

-- Marks runs as over: each has its attempt and its ending as text, and `times` says when it ended. Those with a time to live
-- are kept until `expiries`.
local function keep(ids, endings, times, expiries)
  local ended, ends, kept, indexed = {}, {}, {}, {}
  for at, id in ipairs(ids) do
    ended[at * 2 - 1], ended[at * 2] = id, endings[at]
    ends[at * 2 - 1], ends[at * 2] = times[at], id
    indexed[at * 2 - 1], indexed[at * 2] = '0', id
    if expiries[at] then
      kept[#kept + 1] = expiries[at]
      kept[#kept + 1] = id
    end
  end
  send('HSET', ENDED, ended)
  send('ZADD', ENDS, ends)
  send('ZADD', KEPT, kept)
  send('ZADD', RUN_IDS, indexed)
end
