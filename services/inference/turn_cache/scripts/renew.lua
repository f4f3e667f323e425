-- Keeps a lease, if it is still the asker's. KEYS: lease. ARGV: the asker, milliseconds.
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('PEXPIRE', KEYS[1], ARGV[2])
