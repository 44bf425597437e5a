-- Claims due jobs. ARGV: due at or before which moment (as in a cursor), at most how many, the owner, the lease in microseconds.
-- Answers token, ids, payloads and cursors. A request that is repeated is answered with what it holds.
local token = call('GET', REQUEST)
local ids, members = {}, {}
if token then
  local claimed = call('ZRANGE', LEASES, 0, -1)
  local claims = ask('HMGET', CLAIMS, claimed)
  for at, id in ipairs(claimed) do
    if claims[at] and string.match(claims[at], '^%d+') == token then ids[#ids + 1] = id end
  end
else
  local time = server_time()
  repeat
    local ended = call('ZRANGEBYSCORE', LEASES, '-inf', '(' .. text(time), 'LIMIT', 0, CHUNK)
    unclaim(ended)
  until #ended < CHUNK
  members = call('ZRANGEBYLEX', RUN_TIMES, '-', '[' .. ARGV[2] .. '\255', 'LIMIT', 0, ARGV[3])
  if #members == 0 then return {} end
  for at, member in ipairs(members) do ids[at] = string.sub(member, TIME + 1) end
  token = new_token()
  local claim, lease_end = token .. ' ' .. ARGV[4], text(time + ARGV[5])
  local claims, leases = {}, {}
  for at = 1, #ids do
    local slot, id = at * 2, ids[at]
    claims[slot - 1], claims[slot] = id, claim
    leases[slot - 1], leases[slot] = lease_end, id
  end
  send('HSET', CLAIMS, claims)
  send('ZADD', LEASES, leases)
  send('ZREM', RUN_TIMES, members)
  call('SET', REQUEST, token, 'PX', REMEMBERED)
end
return { token, ids, ask('HMGET', JOBS, ids), ask('HMGET', CURSORS, ids) }
