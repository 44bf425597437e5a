-- How many jobs there are in the schedule, and in each state.
local counts, out = { 0 }, 0
for at, state in ipairs(STATES) do
  counts[at + 1] = call('ZCARD', SPACE .. state)
  out = out + counts[at + 1]
end
counts[1] = call('HLEN', CURSORS) - out
return counts
