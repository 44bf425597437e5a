-- Takes claimed jobs that do not decode out of the schedule: id, token, reason of each.
for at = 2, #ARGV, 3 do
  local id, token, reason = unpack(ARGV, at, at + 2)
  if string.find(call('GET', HELD .. token) or '', '\n' .. id .. '\n', 1, true) then
    displace(id, call('HGET', CURSORS, id))
    call('HSET', REASONS, id, reason)
    put({ id }, { 'quarantined' })
  end
end
return 1
