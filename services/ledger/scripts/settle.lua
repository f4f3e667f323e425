-- Ends a lease with what was used, once: gives back what was granted beyond
-- it, frees its places, and writes the record of it. A lease that the store
-- does not know (nothing limits it, or the store was lost) is charged whole.
--
-- KEYS: lease, leases by their end, records, then account and its leases, in pairs.
-- ARGV: lease id, tokens of the prompts, tokens of answer, prices of both in
-- nanos, the record, how many records are kept at most, how long the end is
-- remembered in milliseconds, rules.
-- Returns: 1, or 0 where the lease was settled before.

local clock = read_clock()
local prompt, completion = whole(ARGV[2], MOST_TOKENS), whole(ARGV[3], MOST_TOKENS)
local price = {prompt = whole(ARGV[4], MOST_PRICE), completion = whole(ARGV[5], MOST_PRICE)}

local lease = redis.call('HMGET', KEYS[1], 'prompt', 'completion', 'day', 'month', 'settled')
if lease[5] then
  return 0
end
local more_prompt = prompt - tonumber(lease[1] or 0)
local more = completion - tonumber(lease[2] or 0)
local tokens = more_prompt + more
local nanos = more_prompt * price.prompt + more * price.completion
local today = not lease[3] or tonumber(lease[3]) == clock.day
local this_month = not lease[4] or tonumber(lease[4]) == clock.month

for _, account in ipairs(open_accounts(4, 9, clock)) do
  charge(account, tokens, nanos, today, this_month)
  save(account, clock)
  redis.call('ZREM', account.live, ARGV[1])
end
redis.call('ZREM', KEYS[2], ARGV[1])
redis.call('DEL', KEYS[1])
redis.call('HSET', KEYS[1], 'settled', text(clock.now))
redis.call('PEXPIRE', KEYS[1], whole(ARGV[8], KEEP_MS))
if ARGV[6] ~= '' then
  redis.call('XADD', KEYS[3], 'MAXLEN', '~', text(whole(ARGV[7])), '*', 'record', ARGV[6])
end
return 1
