-- Queues runs: id and record of each.
local past = answered()
if past then return past[1] end
local batch = new_batch()
for at = 2, #ARGV, 2 do add(batch, ARGV[at], ARGV[at + 1]) end
admit(batch)
save()
return answer({ 1 })[1]
