-- Gives a run to another writer, if nobody took it since it was looked at, and not too often.
-- KEYS: run. ARGV: who had it, who is to have it, how often it may be taken.
if redis.call('HGET', KEYS[1], 'holder') ~= ARGV[1] then return 0 end
if redis.call('HINCRBY', KEYS[1], 'takeovers', 1) > tonumber(ARGV[3]) then return -1 end
redis.call('HSET', KEYS[1], 'holder', ARGV[2])
return 1
