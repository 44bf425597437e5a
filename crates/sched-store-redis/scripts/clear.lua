-- Removes all jobs. Answers how many.
local past = answered()
if past then return past[1] end
local count = call('HLEN', CURSORS)
for _, token in ipairs(call('ZRANGE', LEASES, 0, -1)) do call('UNLINK', HELD .. token) end
for _, state in ipairs(STATES) do call('UNLINK', SPACE .. state) end
call('UNLINK', JOBS, RUN_TIMES, CURSORS, LEASES, OWNERS, REASONS)
return answer({ count })[1]
