-- Writes what a run said since the last time, if it is still the writer's.
-- KEYS: events, run, tokens. ARGV: the writer, tenant, user, request, milliseconds, first event that is
-- kept, last event, place of the tokens, tokens, then the events under their numbers.
-- Gives -1 where another has the run, 1 where nothing was known of it, else 0.
local holder = redis.call('HGET', KEYS[2], 'holder')
if holder and holder ~= ARGV[1] then return -1 end
if not holder then
  redis.call('HSET', KEYS[2], 'holder', ARGV[1], 'tenant_id', ARGV[2], 'user_id', ARGV[3], 'request', ARGV[4])
end
if #ARGV > 9 then redis.call('XADD', KEYS[1], ARGV[7] .. '-0', unpack(ARGV, 10)) end
redis.call('XTRIM', KEYS[1], 'MINID', ARGV[6] .. '-0')
if ARGV[8] == '0' then redis.call('DEL', KEYS[3]) end
if ARGV[9] ~= '' then redis.call('SETRANGE', KEYS[3], ARGV[8], ARGV[9]) end
for _, key in ipairs(KEYS) do redis.call('PEXPIRE', key, ARGV[5]) end
return holder and 0 or 1
