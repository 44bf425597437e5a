-- What scripts about jobs share.
--
-- A job is a payload in JOBS and a cursor in CURSORS: "revision run fire last status", or "-" for a time that there is not.
-- It is in exactly one place: RUN_TIMES while it waits, LEASES while it is claimed, or the set of its state. The run time is
-- 16 hexadecimal digits; with the id behind it, it is the member of RUN_TIMES, which is ordered by bytes. Scores would be
-- exact from 1684 to 2255 only.

local CURSORS, CLAIMS, LEASES, REASONS = SPACE .. 'cursors', SPACE .. 'claims', SPACE .. 'leases', SPACE .. 'reasons'

-- Sets of jobs out of the schedule; `scheduled` is for those that have no time all the same.
local STATES = { 'scheduled', 'paused', 'finished', 'suspended', 'quarantined' }

-- The length of a run time; no state has a name so long.
local TIME = 16

-- The revision of a cursor; nothing when it has none.
local function revision(cursor)
  return cursor and string.match(cursor, '^(%d+) ') or ''
end

-- Where a cursor says that its job is: a time, or the name of a state.
local function place_of(cursor)
  local time, status = string.match(cursor or '', '^%d+ (%S+) %S+ %S+ (%a+)')
  if time == '-' then return status end
  return time and #time == TIME and time or 'quarantined'
end

-- Takes a job with that cursor out of wherever it is; its claim ends.
local function displace(id, cursor)
  call('ZREM', RUN_TIMES, place_of(cursor) .. id)
  call('ZREM', LEASES, id)
  call('HDEL', CLAIMS, id)
  call('HDEL', REASONS, id)
  for _, state in ipairs(STATES) do call('ZREM', SPACE .. state, id) end
end

-- Puts jobs, which are nowhere, to their places.
local function put(ids, places)
  local timed, out, count = {}, {}, 0
  for at, id in ipairs(ids) do
    local place = places[at]
    if #place == TIME then
      count = count + 2
      timed[count - 1], timed[count] = '0', place .. id
    else
      local list = out[place] or {}
      out[place] = list
      list[#list + 1] = '0'
      list[#list + 1] = id
    end
  end
  send('ZADD', RUN_TIMES, timed)
  for place, list in pairs(out) do send('ZADD', SPACE .. place, list) end
end

-- Ends claims without a commit: the jobs are due again.
local function unclaim(ids)
  local places = ask('HMGET', CURSORS, ids)
  for at = 1, #ids do places[at] = place_of(places[at]) end
  put(ids, places)
  send('ZREM', LEASES, ids)
  send('HDEL', CLAIMS, ids)
end
