-- How many jobs there are in the schedule, and in each state.
local counts = { call('ZCARD', RUN_TIMES) + call('ZCARD', LEASES) }
for _, state in ipairs(STATES) do counts[#counts + 1] = call('ZCARD', SPACE .. state) end
return counts
