-- Ends claimed runs: id, token, and `. ` with the ending, or the time (as in a place) of the next attempt with the history.
-- Answers of each whether its claim was open.
local past = answered()
if past then return past end
local ids, tokens, count = {}, {}, 0
for at = 2, #ARGV, 3 do
  count = count + 1
  ids[count], tokens[count] = ARGV[at], ARGV[at + 1]
end
local records = ask('HMGET', RUNS, ids)
local groups = groups_once(ids, tokens, records)
local all, tries, time = read_all(records), all_tries(ids), server_time()
local replies, left, left_groups, gone = {}, {}, {}, {}
local again = { ids = {}, records = {}, changes = {} }
local kept = { ids = {}, endings = {}, times = {}, expiries = {} }
for at = 1, count do
  local id, what, class = ids[at], ARGV[at * 3 + 1], all.classes[at]
  replies[at] = groups[at] and 1 or 0
  if groups[at] then
    left[#left + 1], left_groups[#left_groups + 1] = id, groups[at]
    local attempt = tries[at] and tries_of(tries[at]) or 0
    if byte(what) ~= DOT then
      local index = #again.ids + 1
      again.ids[index], again.records[index] = id, records[at]
      again.changes[index] = { attempt = attempt + 1, time = sub(what, 1, 16), history = sub(what, 17) }
    else
      local is_kept = not class or class.ttl > 0
      if is_kept then
        local index = #kept.ids + 1
        kept.ids[index], kept.times[index] = id, match(what, '^%. %S+ %S+ (%-?%d+)')
        kept.endings[index] = text(attempt + 1) .. sub(what, 2)
        kept.expiries[index] = class and text(time + class.ttl) or false
      else
        gone[#gone + 1] = id
      end
      if class then
        part(all.jobs[at], all.fires[at], is_kept)
        open_gates(class, all.jobs[at])
      end
    end
  end
end
-- First what a full server does not refuse.
leave_groups(left, left_groups)
keep(kept.ids, kept.endings, kept.times, kept.expiries)
requeue(again.ids, again.records, again.changes)
delete(gone)
save()
return answer(replies)
