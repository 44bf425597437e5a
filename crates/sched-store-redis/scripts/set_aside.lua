-- Ends claimed runs that do not decode, and keeps them: id, token, ending of each.
local ids, tokens = {}, {}
for at = 2, #ARGV, 3 do
  ids[#ids + 1] = ARGV[at]
  tokens[#tokens + 1] = ARGV[at + 1]
end
local claims, records = open_claims(ids, tokens), ask('HMGET', RUNS, ids)
local own, own_records, endings, times, time = {}, {}, {}, {}, text(server_time())
for at, id in ipairs(ids) do
  if claims[at] then
    local index = #own + 1
    own[index], own_records[index], times[index] = id, records[at], time
    endings[index] = attempt_of(claims[at]) .. ' ' .. ARGV[at * 3 + 1]
  end
end
keep(own, endings, times, {})
leave(own, read_all(own_records))
save()
return 1
