-- What every script begins with.
--
-- KEYS: the jobs, the run times, and the name that all other keys begin with; one hash tag puts them into one slot.
-- ARGV[1]: the request. A request that was answered is not done again: see `answered` and `answer`.

local call, match, sub, byte = redis.call, string.match, string.sub, string.byte
local JOBS, RUN_TIMES, SPACE = KEYS[1], KEYS[2], KEYS[3]
local REQUEST = SPACE .. 'request:' .. ARGV[1]

-- How long an answer is kept, in milliseconds: longer than a caller tries.
local REMEMBERED = 60000

-- What stands first in a time that there is not, and in the ending of a run.
local DASH, DOT, BLANK = byte('-'), byte('.'), byte(' ')

-- Lua hands over about 8,000 values at once. Pairs and triples are not torn apart.
local CHUNK = 6000

-- What this request was answered before, or nil.
local function answered()
  local kept = call('GET', REQUEST)
  return kept and cmsgpack.unpack(kept) or nil
end

-- Answers, and remembers it.
local function answer(reply)
  call('SET', REQUEST, cmsgpack.pack(reply), 'PX', REMEMBERED)
  return reply
end

-- A command with any number of arguments. Answers the sum of what it answers.
local function send(command, key, list)
  local sum = 0
  for first = 1, #list, CHUNK do
    sum = sum + call(command, key, unpack(list, first, math.min(first + CHUNK - 1, #list)))
  end
  return sum
end

-- A command that answers one value for each field.
local function ask(command, key, fields)
  if #fields == 0 then return {} end
  if #fields <= CHUNK then return call(command, key, unpack(fields)) end
  local values = {}
  for first = 1, #fields, CHUNK do
    local part = call(command, key, unpack(fields, first, math.min(first + CHUNK - 1, #fields)))
    for at = 1, #part do values[first + at - 1] = part[at] end
  end
  return values
end

-- The server's time in microseconds. It stays below 2^53 until the year 2255.
local function server_time()
  local time = call('TIME')
  return time[1] * 1000000 + time[2]
end

-- A whole number as text: Lua's own way rounds it to 14 digits. Numbers are handed to commands as text, because the server
-- formats any other number anew each time.
local function text(number)
  return string.format('%.0f', number)
end

-- A token that was never used. It is fetched as text, because a number of Lua is exact below 2^53 only.
local function new_token()
  call('INCR', SPACE .. 'token')
  return call('GET', SPACE .. 'token')
end

-- Whether one string comes before another, by bytes: Lua's `<` follows the server's locale.
local function before(left, right)
  for at = 1, math.min(#left, #right) do
    local a, b = byte(left, at), byte(right, at)
    if a ~= b then return a < b end
  end
  return #left < #right
end
