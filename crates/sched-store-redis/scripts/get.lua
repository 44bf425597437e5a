-- Looks jobs up: payloads, cursors, and why the quarantined ones are.
local ids = { unpack(ARGV, 2) }
return { ask('HMGET', JOBS, ids), ask('HMGET', CURSORS, ids), ask('HMGET', REASONS, ids) }
