-- Looks a turn up: its entry, or who is saying it; where there is neither, the asker says it.
-- KEYS: entry, lease. ARGV: the asker, lease milliseconds, a holder known to be gone.
local entry = redis.call('GET', KEYS[1])
if entry then return {'entry', entry} end
local holder = redis.call('GET', KEYS[2])
if holder and holder ~= ARGV[3] then return {'held', holder} end
redis.call('SET', KEYS[2], ARGV[1], 'PX', ARGV[2])
return {'yours'}
