-- Puts runs back whose lease is over. Answers which.
local past = answered()
if past then return past end
local ids = take_back_ended(server_time())
if #ids == 0 then return ids end
save()
return answer(ids)
