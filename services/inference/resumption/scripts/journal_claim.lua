-- Gives a run to another writer, if nobody took it since it was looked at, nor a moment ago, and not too often.
-- KEYS: run. ARGV: who had it, who is to have it, how often it may be taken, milliseconds that an heir has to begin.
if redis.call('HGET', KEYS[1], 'holder') ~= ARGV[1] then return 0 end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
if now - (tonumber(redis.call('HGET', KEYS[1], 'claimed')) or 0) < tonumber(ARGV[4]) then return 0 end
if redis.call('HINCRBY', KEYS[1], 'takeovers', 1) > tonumber(ARGV[3]) then return -1 end
redis.call('HSET', KEYS[1], 'holder', ARGV[2], 'claimed', string.format('%d', now))
return 1
