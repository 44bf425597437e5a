-- Removes all jobs. Answers how many.
local past = answered()
if past then return past[1] end
local count = call('ZCARD', RUN_TIMES) + call('ZCARD', LEASES)
for _, state in ipairs(STATES) do
  count = count + call('ZCARD', SPACE .. state)
  call('UNLINK', SPACE .. state)
end
call('UNLINK', JOBS, RUN_TIMES, CURSORS, CLAIMS, LEASES, REASONS)
return answer({ count })[1]
