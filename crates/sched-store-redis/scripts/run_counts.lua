-- How many runs wait, are claimed, are over.
local running, ended = call('ZCARD', RUN_LEASES), call('HLEN', ENDED)
return { call('ZCARD', RUN_IDS) - running - ended, running, ended }
