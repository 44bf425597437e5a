-- Extends leases. ARGV[2]: the lease in microseconds; then id and token of each. Answers of each whether its claim is open.
local past = answered()
if past then return past end
local ids, tokens = {}, {}
for at = 3, #ARGV, 2 do
  ids[#ids + 1] = ARGV[at]
  tokens[#tokens + 1] = ARGV[at + 1]
end
local claims = ask('HMGET', RUN_CLAIMS, ids)
local lease_end, leases, replies = text(server_time() + ARGV[2]), {}, {}
for at, id in ipairs(ids) do
  local is_open = claims[at] and match(claims[at], '^%d+') == tokens[at]
  replies[at] = is_open and 1 or 0
  if is_open then
    leases[#leases + 1] = lease_end
    leases[#leases + 1] = id
  end
end
send('ZADD', RUN_LEASES, leases)
return answer(replies)
