-- Rows of runs by id. ARGV: after which id, at most how many, how many to look at, and what is asked for or '': job, task,
-- phase, the first fire time and the one that is too late (as in a record); or the id of the only one.
-- Answers the last id that was looked at ('' at the end) and rows of id, record, claim, lease, ending, tries.
local most, scan, job, task, phase = tonumber(ARGV[3]), tonumber(ARGV[4]), ARGV[5], ARGV[6], ARGV[7]
local from, till, only = ARGV[8], ARGV[9], ARGV[10]
local ids = { only }
if only == '' then ids = call('ZRANGEBYLEX', RUN_IDS, '(' .. ARGV[2], '+', 'LIMIT', 0, scan) end
local records, claims = ask('HMGET', RUNS, ids), ask('HMGET', RUN_CLAIMS, ids)
local endings, tries = ask('HMGET', ENDED, ids), ask('HMGET', TRIES, ids)
local leases = ask('ZMSCORE', RUN_LEASES, ids)
local rows, last = {}, #ids == scan and ids[#ids] or ''
for at, id in ipairs(ids) do
  local is_one, _, line, of_job, _, fire = read(records[at])
  local stands = endings[at] and 'finished' or claims[at] and 'running' or 'queued'
  local wanted = records[at] and (phase == '' or phase == stands)
  if is_one and wanted then
    local _, of_task = names(line)
    wanted = (job == '' or job == of_job) and (task == '' or task == of_task)
      and (from == '' or not before(fire, from)) and (till == '' or before(fire, till))
  end
  if wanted then
    local lease = leases[at] and text(tonumber(leases[at]))
    rows[#rows + 1] = { id, records[at], claims[at], lease, endings[at], tries[at] }
    if #rows == most then
      last = id
      break
    end
  end
end
return { last, rows }
