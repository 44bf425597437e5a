-- When the earliest job is due (as in a cursor), and the last moment of the earliest lease; '' where there is none.
local first = call('ZRANGE', RUN_TIMES, 0, 0)[1]
local lease = call('ZRANGE', LEASES, 0, 0, 'WITHSCORES')
return { first and string.sub(first, 1, TIME) or '', lease[2] and text(tonumber(lease[2])) or '' }
