-- Ends claimed runs: id, token, `end`, ending and its time; or id, token, `again`, time (as in a place) and history.
-- Answers of each whether its claim was open.
local past = answered()
if past then return past end
local ids, tokens = {}, {}
for at = 2, #ARGV, 5 do
  ids[#ids + 1] = ARGV[at]
  tokens[#tokens + 1] = ARGV[at + 1]
end
local claims, records = open_claims(ids, tokens), ask('HMGET', RUNS, ids)
local replies, over, bases, records_over = {}, {}, {}, {}
local again = { ids = {}, records = {}, changes = {} }
for at, id in ipairs(ids) do
  local base, claim = at * 5 - 3, claims[at]
  replies[at] = claim and 1 or 0
  if claim and ARGV[base + 2] == 'again' then
    local index = #again.ids + 1
    again.ids[index], again.records[index] = id, records[at]
    again.changes[index] = { attempt = tonumber(attempt_of(claim)), time = ARGV[base + 3], history = ARGV[base + 4] }
  elseif claim then
    local index = #over + 1
    over[index], bases[index], records_over[index] = id, base, records[at]
  end
end
local all, time = read_all(records_over), server_time()
local gone, fires = {}, {}
local kept = { ids = {}, endings = {}, times = {}, expiries = {} }
for at, id in ipairs(over) do
  local base, ttl = bases[at], all.ttls[at]
  if ttl == 0 then
    gone[#gone + 1] = id
    if all.fires[at] then fires[#fires + 1] = all.fires[at] end
  else
    local index, claim = #kept.ids + 1, claims[(base + 3) / 5]
    kept.ids[index], kept.times[index] = id, ARGV[base + 4]
    kept.endings[index] = attempt_of(claim) .. ' ' .. ARGV[base + 3]
    kept.expiries[index] = ttl and text(time + ttl)
  end
end
keep(kept.ids, kept.endings, kept.times, kept.expiries)
requeue(again.ids, again.records, again.changes)
leave(over, all)
delete(gone, fires)
save()
return answer(replies)
