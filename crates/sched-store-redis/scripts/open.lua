-- The schema's version, written when there is none. ARGV[2]: the version this program makes.
local found = call('GET', SPACE .. 'schema')
if not found then
  found = ARGV[2]
  call('SET', SPACE .. 'schema', found)
end
return found
