-- Ends all claims of an owner, on jobs and on runs. ARGV[2]: the owner.
local claimed = call('ZRANGE', LEASES, 0, -1)
local claims = ask('HMGET', CLAIMS, claimed)
local own = {}
for at, id in ipairs(claimed) do
  if claims[at] and string.match(claims[at], '^%d+ (.*)$') == ARGV[2] then own[#own + 1] = id end
end
unclaim(own)
claimed = call('ZRANGE', RUN_LEASES, 0, -1)
claims = ask('HMGET', RUN_CLAIMS, claimed)
own = {}
for at, id in ipairs(claimed) do
  if claims[at] and string.match(claims[at], '^%d+ %d+ (.*)$') == ARGV[2] then own[#own + 1] = id end
end
take_back(own)
save()
return 1
