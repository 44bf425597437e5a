-- Deletes finished runs whose time to live is over, and the oldest beyond a number. ARGV[2]: the number, or ''; ARGV[3]: at
-- most how many. Answers how many.
local past = answered()
if past then return past[1] end
local limit, count = tonumber(ARGV[3]), 0

local function drop(ids)
  if #ids == 0 then return end
  local records, fires = ask('HMGET', RUNS, ids), {}
  for at = 1, #ids do
    local _, job, fire = read(records[at])
    if fire and job ~= '' then fires[#fires + 1] = job .. fire end
  end
  delete(ids)
  send('SREM', FIRES, fires)
  send('HDEL', ENDED, ids)
  send('ZREM', KEPT, ids)
  send('ZREM', ENDS, ids)
  send('ZREM', RUN_IDS, ids)
  count = count + #ids
end

drop(call('ZRANGEBYSCORE', KEPT, '-inf', text(server_time()), 'LIMIT', 0, limit))
local beyond = ARGV[2] ~= '' and call('ZCARD', ENDS) - ARGV[2] or 0
if beyond > 0 and count < limit then drop(call('ZRANGE', ENDS, 0, math.min(beyond, limit - count) - 1)) end
if count == 0 then return 0 end
return answer({ count })[1]
