-- Claims due jobs. ARGV: due at or before which moment (as in a cursor), at most how many, the owner, the lease in microseconds.
-- Answers token, ids, payloads and cursors. A request that is repeated is answered with what it holds.
local token = call('GET', REQUEST)
local ids = {}
if token then
  ids = ids_of(token)
else
  local time = server_time()
  for _, ended in ipairs(call('ZRANGEBYSCORE', LEASES, '-inf', '(' .. text(time))) do unclaim(ended) end
  local members = call('ZRANGEBYLEX', RUN_TIMES, '-', '[' .. ARGV[2] .. '\255', 'LIMIT', 0, ARGV[3])
  if #members == 0 then return {} end
  for at = 1, #members do ids[at] = sub(members[at], TIME + 1) end
  -- First what a full server refuses.
  token = new_token()
  -- They are the first of all.
  call('ZREMRANGEBYRANK', RUN_TIMES, 0, #members - 1)
  call('ZADD', LEASES, text(time + ARGV[5]), token)
  call('HSET', OWNERS, token, ARGV[4])
  hold(token, list_of(ids))
  call('SET', REQUEST, token, 'PX', REMEMBERED)
end
return { token, ids, ask('HMGET', JOBS, ids), ask('HMGET', CURSORS, ids) }
