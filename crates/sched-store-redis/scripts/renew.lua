-- Extends leases. ARGV[2]: the lease in microseconds; then id and token of each. Answers of each whether its claim is open.
local past = answered()
if past then return past end
local ids, tokens = {}, {}
for at = 3, #ARGV, 2 do
  ids[#ids + 1] = ARGV[at]
  tokens[#tokens + 1] = ARGV[at + 1]
end
-- Records may be long: once is enough to look into each.
local records = {}
for at, group in ipairs(call('EXISTS', GROUPS) == 1 and ask('HMGET', GROUPS, ids) or {}) do records[at] = group and '' end
local unknown, slots = {}, {}
for at, id in ipairs(ids) do
  if not records[at] then
    unknown[#unknown + 1] = id
    slots[#slots + 1] = at
  end
end
for index, record in ipairs(ask('HMGET', RUNS, unknown)) do records[slots[index]] = record end
local groups, fresh = groups_of(ids, tokens, records), {}
for _, at in ipairs(slots) do
  local group = groups[at]
  if group then
    fresh[group] = fresh[group] or {}
    table.insert(fresh[group], ids[at])
  end
end
for group, own in pairs(fresh) do note(own, group) end

local lease_end, leases, replies = text(server_time() + ARGV[2]), {}, {}
local named, count = {}, {}
for at, group in ipairs(groups) do
  replies[at] = group and 1 or 0
  if group then
    if not named[group] then
      named[group], count[group] = {}, 0
      leases[#leases + 1] = lease_end
      leases[#leases + 1] = group
    end
    if not named[group][ids[at]] then count[group] = count[group] + 1 end
    named[group][ids[at]] = true
  end
end
-- Who is not named keeps the lease that there is, in a group of its own.
for group, own in pairs(named) do
  if call('SCARD', GROUP .. group) > count[group] then
    local owner, present = call('HGET', RUN_OWNERS, group), call('ZSCORE', RUN_LEASES, group)
    for _, id in ipairs(call('SMEMBERS', GROUP .. group)) do
      if not own[id] then
        call('SREM', GROUP .. group, id)
        claim(group .. '/' .. id, owner or '', present or lease_end, { id })
        note({ id }, group .. '/' .. id)
      end
    end
  end
end
send('ZADD', RUN_LEASES, leases)
return answer(replies)
