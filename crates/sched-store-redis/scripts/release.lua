-- Gives claims back: id and token of each. The attempt does not count.
local past = answered()
if past then return past[1] end
local ids, tokens, own, groups, changes = {}, {}, {}, {}, {}
for at = 2, #ARGV, 2 do
  ids[#ids + 1] = ARGV[at]
  tokens[#tokens + 1] = ARGV[at + 1]
end
for at, group in ipairs(groups_once(ids, tokens, ask('HMGET', RUNS, ids))) do
  if group then
    local index = #own + 1
    own[index], groups[index], changes[index] = ids[at], group, {}
  end
end
requeue(own, ask('HMGET', RUNS, own), changes)
leave_groups(own, groups)
save()
return answer({ 1 })[1]
