-- Ends all claims of an owner, on jobs and on runs. ARGV[2]: the owner.
local function owned(owners)
  local own, all = {}, call('HGETALL', owners)
  for at = 1, #all, 2 do
    if all[at + 1] == ARGV[2] then own[#own + 1] = all[at] end
  end
  return own
end
for _, token in ipairs(owned(OWNERS)) do unclaim(token) end
for _, group in ipairs(owned(RUN_OWNERS)) do take_back(group) end
save()
return 1
