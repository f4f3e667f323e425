-- Ends a lease, with the entry that came of it unless that is empty. What another took over is left alone.
-- KEYS: entry, lease. ARGV: the asker, the entry, its milliseconds.
local holder = redis.call('GET', KEYS[2])
if holder and holder ~= ARGV[1] then return 0 end
redis.call('DEL', KEYS[2])
if ARGV[2] ~= '' then redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3]) end
return 1
