-- Claims waiting runs. ARGV: due at or before which moment (as in a place), at most how many, the owner, the lease in
-- microseconds, the number of executors; of each its alias and its free places; then the tasks that are known, of each its
-- name and its limit or ''. Answers token, ids, records, tries and mangled ids. A request that is repeated is answered with
-- what it holds.
local due, limit, owner = ARGV[2], tonumber(ARGV[3]), ARGV[4]

local token = call('GET', REQUEST)
if token then
  local held, ids = call('SMEMBERS', GROUP .. token), {}
  for index, record in ipairs(ask('HMGET', RUNS, held)) do held[index] = (place_in(record) or '') .. held[index] end
  table.sort(held)
  for index, member in ipairs(held) do ids[index] = sub(member, 25) end
  return { token, ids, ask('HMGET', RUNS, ids), all_tries(ids), {} }
end

local time = server_time()
take_back_ended(time)
save()

local places, limits, at = {}, {}, 7
for _ = 1, ARGV[6] do
  places[ARGV[at]] = tonumber(ARGV[at + 1])
  at = at + 2
end
for task = at, #ARGV, 2 do limits[ARGV[task]] = tonumber(ARGV[task + 1]) or math.huge end

-- What is known of runs, by id: the record (false for none), the class, the job.
local records, classes_of, jobs = {}, {}, {}
local ids, mangled = {}, {}
-- The members that leave each line.
local leaving = {}
-- Runs that came back from a gate meanwhile: line and member of each.
local back = {}

local function load(members)
  local wanted = {}
  for index, member in ipairs(members) do wanted[index] = sub(member, 25) end
  local found = ask('HMGET', RUNS, wanted)
  local all = read_all(found)
  for index, id in ipairs(wanted) do
    records[id] = all.classes[index] and found[index]
    classes_of[id], jobs[id] = all.classes[index], all.jobs[index]
  end
end

local lines = {}

-- Reads on in a line: what is due of one priority, then of the next. Pages are as long as a line's share of what is left, and
-- grow when other lines have ended.
local function read_on(line)
  local most = math.ceil(math.min(limit - #ids, places[line.executor]) / math.max(#lines, 1)) + 1
  while true do
    local from = '-'
    if line.priority then
      local page = call('ZRANGEBYLEX', line.key, line.from, '[' .. line.priority .. due .. '\255', 'LIMIT', 0, most)
      if #page > 0 then
        load(page)
        line.page, line.at, line.from = page, 1, '(' .. page[#page]
        return
      end
      from = '(' .. line.priority .. '\255'
    end
    local first = call('ZRANGEBYLEX', line.key, from, '+', 'LIMIT', 0, 1)[1]
    if not first then
      line.page, line.at = {}, 1
      return
    end
    line.priority = sub(first, 1, 8)
    line.from = '[' .. line.priority
  end
end

for _, name in ipairs(call('SMEMBERS', LINES)) do
  local executor, task = names(name)
  if (places[executor] or 0) > 0 and limits[task] then
    local line = { name = name, executor = executor, limit = limits[task], gate = 't:' .. task }
    line.key = WAITING .. name
    look_at({ line.gate })
    lines[#lines + 1] = line
    lines[name] = line
  end
end
for _, line in ipairs(lines) do read_on(line) end

local function has_place(line)
  return places[line.executor] > 0 and gates[line.gate] < line.limit
end

-- Where the first run is that may be claimed: a line, or a position among those that came back.
local function first_of_all()
  local best, found, position
  for index = #lines, 1, -1 do
    local line = lines[index]
    local member = line.page[line.at]
    if not member or not has_place(line) then
      table.remove(lines, index)
    elseif not best or before(member, best) then
      best, found = member, line
    end
  end
  for index, item in ipairs(back) do
    local line = lines[item.line]
    if line and has_place(line) and not before(due, sub(item.member, 9, 24)) then
      if not best or before(item.member, best) then best, found, position = item.member, line, index end
    end
  end
  return best, found, position
end

local function come_back(line, member)
  back[#back + 1] = { line = line, member = member }
end

local function park(gate, line, member)
  call('ZADD', PARKED .. gate, 0, line.name .. '\n' .. member)
  call('SADD', CROWDED, gate)
end

local function take(line, id)
  ids[#ids + 1] = id
  places[line.executor] = places[line.executor] - 1
  change(line.gate, 1)
  change(classes_of[id].key, 1)
  claim_of(jobs[id], 1)
end

-- Takes a run, or parks it.
local function admit_or_park(line, id, member)
  local class, job = classes_of[id], jobs[id]
  if inside_job(job) >= class.most then
    park('j:' .. job, line, member)
    -- The place that it had come for is another's.
    if class.key ~= NO_GATE and gates[class.key] < class.most_key then free(class.key, come_back) end
  elseif class.key ~= NO_GATE and gates[class.key] >= class.most_key then
    park(class.key, line, member)
  else
    take(line, id)
  end
end

while #ids < limit do
  local member, line, position = first_of_all()
  if not member then break end
  if position then
    table.remove(back, position)
  else
    line.at = line.at + 1
    local list = leaving[line.name] or {}
    leaving[line.name] = list
    list[#list + 1] = member
  end
  local id = sub(member, 25)
  if records[id] == nil then load({ member }) end
  if records[id] then admit_or_park(line, id, member) else mangled[#mangled + 1] = id end
  if not position and line.at > #line.page and #ids < limit and has_place(line) then read_on(line) end
end

for _, item in ipairs(back) do line_up(item.line, item.member) end
local reply = { '', ids, {}, {}, mangled }
if #ids > 0 then
  token = new_token()
  for index, id in ipairs(ids) do reply[3][index] = records[id] end
  reply[1], reply[4] = token, all_tries(ids)
  claim(token, owner, text(time + ARGV[5]), ids)
  note(ids, token)
  send('ZREM', RUN_IDS, ids)
  call('SET', REQUEST, token, 'PX', REMEMBERED)
end
for name, members in pairs(leaving) do
  local key = WAITING .. name
  send('ZREM', key, members)
  if call('EXISTS', key) == 0 then call('SREM', LINES, name) end
end
save()
if #mangled > 0 then
  local endings, times = {}, {}
  for index = 1, #mangled do
    endings[index] = '0 abandoned - ' .. text(time) .. '\n"its row does not decode: it is damaged"'
    times[index] = text(time)
  end
  keep(mangled, endings, times, {})
end
return reply
