-- Puts back what an account used in the present day and month, after the
-- store was lost; once, and only while the store is not ready.
--
-- KEYS: readiness, account.
-- ARGV: tokens and nanos of the day, tokens and nanos of the month.
-- Returns: 1, or 0 where there was nothing to do.

if redis.call('EXISTS', KEYS[1]) == 1 or redis.call('HSETNX', KEYS[2], 'restored', '1') == 0 then
  return 0
end
local clock = read_clock()
local rules = {NONE, NONE, NONE, NONE, NONE, NONE, NONE}
local account = open_account(KEYS[2], '', rules, clock)
account.day_tokens = account.day_tokens + whole(ARGV[1])
account.day_nanos = account.day_nanos + whole(ARGV[2])
account.month_tokens = account.month_tokens + whole(ARGV[3])
account.month_nanos = account.month_nanos + whole(ARGV[4])
save(account, clock)
return 1
