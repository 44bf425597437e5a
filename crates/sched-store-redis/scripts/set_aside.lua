-- Ends claimed runs that do not decode, and keeps them: id, token, ending of each.
local ids, tokens = {}, {}
for at = 2, #ARGV, 3 do
  ids[#ids + 1] = ARGV[at]
  tokens[#tokens + 1] = ARGV[at + 1]
end
local own, own_groups, endings, times, time = {}, {}, {}, {}, text(server_time())
local tries = all_tries(ids)
for at, group in ipairs(groups_once(ids, tokens, ask('HMGET', RUNS, ids))) do
  if group then
    local index = #own + 1
    own[index], own_groups[index], times[index] = ids[at], group, time
    endings[index] = text(tries_of(tries[at]) + 1) .. ' ' .. ARGV[at * 3 + 1]
  end
end
local all = read_all(ask('HMGET', RUNS, own))
for at = 1, #own do
  local class = all.classes[at]
  if class then
    part(all.jobs[at], all.fires[at], true)
    open_gates(class, all.jobs[at])
  end
end
keep(own, endings, times, {})
leave_groups(own, own_groups)
save()
return 1
