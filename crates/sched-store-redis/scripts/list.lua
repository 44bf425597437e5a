-- A page from each place, for the caller to merge. ARGV: after which time ('' from the first, `-` when the timed ones are
-- over) and which id, at most how many, then the places: `timed`, or the name of a state.
-- Answers for each place ids; for `timed` times with ids, of which the claimed come last and all, because they are few.
local after, after_id, most = ARGV[2], ARGV[3], tonumber(ARGV[4])
local pages = {}
for at = 5, #ARGV do
  local place = ARGV[at]
  if place == 'timed' then
    if after == '-' then
      pages[#pages + 1] = {}
    else
      local from = after == '' and '-' or '(' .. after .. after_id
      local page = call('ZRANGEBYLEX', RUN_TIMES, from, '+', 'LIMIT', 0, most)
      for _, token in ipairs(call('ZRANGE', LEASES, 0, -1)) do
        local claimed = ids_of(token)
        local cursors = ask('HMGET', CURSORS, claimed)
        for index, id in ipairs(claimed) do
          local time = place_of(cursors[index])
          page[#page + 1] = (#time == TIME and time or string.rep('-', TIME)) .. id
        end
      end
      pages[#pages + 1] = page
    end
  else
    local from = after == '-' and '(' .. after_id or '-'
    pages[#pages + 1] = call('ZRANGEBYLEX', SPACE .. place, from, '+', 'LIMIT', 0, most)
  end
end
return pages
