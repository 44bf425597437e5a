-- Claims waiting runs. ARGV: due at or before which moment (as in a place), at most how many, the owner, the lease in
-- microseconds, the number of executors; of each its alias and its free places; then the tasks that are known, of each its
-- name and its limit or ''. Answers token, ids, records, tries and mangled ids. A request that is repeated is answered with
-- what it holds.
local due, limit, owner = ARGV[2], tonumber(ARGV[3]), ARGV[4]

local token = call('GET', REQUEST)
if token then
  local claimed = call('ZRANGE', RUN_LEASES, 0, -1)
  local claims, ids = ask('HMGET', RUN_CLAIMS, claimed), {}
  for at, id in ipairs(claimed) do
    if claims[at] and match(claims[at], '^%d+') == token then ids[#ids + 1] = id end
  end
  return { token, ids, ask('HMGET', RUNS, ids), ask('HMGET', TRIES, ids), {} }
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

-- What is known of runs, by id: the record (false for none), the gates, the limits.
local records, jobs, keys, of_job, of_key = {}, {}, {}, {}, {}
local ids, mangled = {}, {}
-- The members that leave each line.
local leaving = {}
-- Runs that came back from a gate meanwhile: line and member of each.
local back = {}

local function load(members)
  local wanted, gates = {}, {}
  for index, member in ipairs(members) do wanted[index] = sub(member, 25) end
  local found = ask('HMGET', RUNS, wanted)
  for index, id in ipairs(wanted) do
    local is_one, _, line, job, key, _, most, most_key = read(found[index])
    records[id] = is_one and found[index]
    if is_one then
      jobs[id], keys[id] = gates_of(line, job, key)
      of_job[id], of_key[id] = most, most_key
      gates[#gates + 1] = jobs[id]
      gates[#gates + 1] = keys[id]
    end
  end
  look_at(gates)
end

-- Reads on in a line: what is due of one priority, then of the next.
local function read_on(line)
  local most = math.min(limit - #ids, places[line.executor])
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

local lines = {}
for _, name in ipairs(call('SMEMBERS', LINES)) do
  local executor, task = names(name)
  if (places[executor] or 0) > 0 and limits[task] then
    local line = { name = name, executor = executor, limit = limits[task], gate = task_gate(name) }
    line.key = SPACE .. 'waiting:' .. name
    look_at({ line.gate })
    lines[#lines + 1] = line
    lines[name] = line
    read_on(line)
  end
end

local function has_place(line)
  return places[line.executor] > 0 and inside(line.gate) < line.limit
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
  call('ZADD', SPACE .. 'parked:' .. gate, 0, line.name .. '\n' .. member)
  call('SADD', CROWDED, gate)
end

local function take(line, id)
  ids[#ids + 1] = id
  places[line.executor] = places[line.executor] - 1
  change(line.gate, 1)
  change(jobs[id], 1)
  change(keys[id], 1)
end

-- Takes a run, or parks it. A gate that a run does not have is always open.
local function admit_or_park(line, id, member)
  local job, key = jobs[id], keys[id]
  if inside(job) >= of_job[id] then
    park(job, line, member)
    -- The place that it had come for is another's.
    if inside(key) < of_key[id] then free(key, come_back) end
  elseif inside(key) >= of_key[id] then
    park(key, line, member)
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
  reply[1] = token
  reply[4] = call('EXISTS', TRIES) == 1 and ask('HMGET', TRIES, ids) or {}
  local lease_end, first, claims, leases = text(time + ARGV[5]), token .. ' 1 ' .. owner, {}, {}
  for index, id in ipairs(ids) do
    local slot, tries = index * 2, reply[4][index]
    local claim = tries and token .. ' ' .. (tries_of(tries) + 1) .. ' ' .. owner or first
    claims[slot - 1], claims[slot] = id, claim
    leases[slot - 1], leases[slot] = lease_end, id
    reply[3][index] = records[id]
  end
  send('HSET', RUN_CLAIMS, claims)
  send('ZADD', RUN_LEASES, leases)
  call('SET', REQUEST, token, 'PX', REMEMBERED)
end
for name, members in pairs(leaving) do
  local key = SPACE .. 'waiting:' .. name
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
