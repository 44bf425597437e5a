-- Puts quarantined jobs that decode again back to where their cursors say: id and the cursor that was read, of each.
for at = 2, #ARGV, 2 do
  local id, read = ARGV[at], ARGV[at + 1]
  if call('ZSCORE', SPACE .. 'quarantined', id) and call('HGET', CURSORS, id) == read then
    displace(id, read)
    put({ id }, { place_of(read) })
  end
end
return 1
