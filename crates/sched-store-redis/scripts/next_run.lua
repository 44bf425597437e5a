-- When the next run of a known task is to start (as in a place), and the last moment of the earliest lease; '' where there
-- is none. ARGV: of each task its name and its limit or ''.
local limits, first = {}, ''
for at = 2, #ARGV, 2 do limits[ARGV[at]] = tonumber(ARGV[at + 1]) or math.huge end
for _, line in ipairs(call('SMEMBERS', LINES)) do
  local _, task = names(line)
  local gate = 't:' .. (task or '')
  look_at({ gate })
  if limits[task] and gates[gate] < limits[task] then
    local from = '-'
    while true do
      local member = call('ZRANGEBYLEX', WAITING .. line, from, '+', 'LIMIT', 0, 1)[1]
      if not member then break end
      local time = sub(member, 9, 24)
      if first == '' or before(time, first) then first = time end
      from = '(' .. sub(member, 1, 8) .. '\255'
    end
  end
end
local lease = call('ZRANGE', RUN_LEASES, 0, 0, 'WITHSCORES')
return { first, lease[2] and text(tonumber(lease[2])) or '' }
