-- How many runs wait, are claimed, are over.
local free, ended = call('ZCARD', RUN_IDS), call('HLEN', ENDED)
return { free - ended, call('HLEN', RUNS) - free, ended }
