-- What scripts about jobs share.
--
-- A job is a payload in JOBS and a cursor in CURSORS: "run revision fire last status", or dashes for a time that there is
-- not. The run time is 16 hexadecimal digits; with the id behind it, it is the member of RUN_TIMES, which is ordered by
-- bytes. Scores would be exact from 1684 to 2255 only.
--
-- A job is in exactly one place: RUN_TIMES while it waits, the list of a claim while it is claimed, or the set of its state.
-- All jobs of a claim share its token: LEASES has its end, OWNERS its owner, and one text all ids, with a line break before
-- and after each. A claim that is committed as a whole is one comparison.

local CURSORS, LEASES, OWNERS, REASONS = SPACE .. 'cursors', SPACE .. 'leases', SPACE .. 'owners', SPACE .. 'reasons'
local HELD = SPACE .. 'held:'

-- Sets of jobs out of the schedule; `scheduled` is for those that have no time all the same.
local STATES = { 'scheduled', 'paused', 'finished', 'suspended', 'quarantined' }

-- The length of a run time; no state has a name so long.
local TIME = 16

-- The revision of a cursor; nothing when it has none.
local function revision(cursor)
  return cursor and match(cursor, '^%S+ (%d+) ') or ''
end

-- Where a cursor says that its job is: a time, or the name of a state.
local function place_of(cursor)
  local time, status = match(cursor or '', '^(%S+) %d+ %S+ %S+ (%a+)')
  if not time or #time ~= TIME then return 'quarantined' end
  if byte(time) == DASH then return status end
  return time
end

-- The list of a claim.
local function list_of(ids)
  return '\n' .. table.concat(ids, '\n') .. '\n'
end

-- Writes the list of a claim, which ends with its last id.
local function hold(token, list)
  if #list > 1 then
    call('SET', HELD .. token, list)
  else
    call('UNLINK', HELD .. token)
    call('ZREM', LEASES, token)
    call('HDEL', OWNERS, token)
  end
end

-- The ids that a claim holds.
local function ids_of(token)
  local ids = {}
  for id in string.gmatch(call('GET', HELD .. token) or '', '[^\n]+') do ids[#ids + 1] = id end
  return ids
end

local lists

-- Takes a job with that cursor out of wherever it is; its claim ends.
local function displace(id, cursor)
  call('ZREM', RUN_TIMES, place_of(cursor) .. id)
  call('HDEL', REASONS, id)
  for _, state in ipairs(STATES) do call('ZREM', SPACE .. state, id) end
  if not lists then
    lists = {}
    for _, token in ipairs(call('ZRANGE', LEASES, 0, -1)) do lists[token] = call('GET', HELD .. token) or '\n' end
  end
  for token, list in pairs(lists) do
    local from, to = string.find(list, '\n' .. id .. '\n', 1, true)
    if from then
      lists[token] = sub(list, 1, from) .. sub(list, to + 1)
      hold(token, lists[token])
    end
  end
end

-- Puts jobs, which are nowhere, to their places.
local function put(ids, places)
  local timed, out, count = {}, {}, 0
  for at = 1, #ids do
    local place, id = places[at], ids[at]
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

-- Ends a claim without a commit: its jobs are due again.
local function unclaim(token)
  local ids = ids_of(token)
  local places = ask('HMGET', CURSORS, ids)
  for at = 1, #ids do places[at] = place_of(places[at]) end
  put(ids, places)
  hold(token, '')
end

-- Whether each claim on jobs is open, and a function that ends those that are. The token of a claim is behind the job's id, at
-- `bases[at] + 1` of ARGV.
local function open_claims(ids, bases)
  local open, token, is_one = {}, ids[1] and ARGV[bases[1] + 1], true
  for at = 1, #ids do
    open[at] = true
    is_one = is_one and ARGV[bases[at] + 1] == token
  end
  if is_one and token and call('GET', HELD .. token) == list_of(ids) then
    -- The whole claim, as it was made.
    return open, function() hold(token, '') end
  end
  local held = {}
  for at, id in ipairs(ids) do
    token = ARGV[bases[at] + 1]
    if not held[token] then
      held[token] = {}
      for _, own in ipairs(ids_of(token)) do held[token][own] = true end
    end
    open[at] = held[token][id] or false
    held[token][id] = nil
  end
  return open, function()
    for of, left in pairs(held) do
      local rest = {}
      for _, id in ipairs(ids_of(of)) do
        if left[id] then rest[#rest + 1] = id end
      end
      hold(of, #rest > 0 and list_of(rest) or '')
    end
  end
end
