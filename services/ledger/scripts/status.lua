-- How far the limits of accounts are used up. Counts nothing.
--
-- KEYS: account and its leases, in pairs. ARGV: rules.
-- Returns: for each limit account, dimension, limit, left and microseconds until it is unused.

local clock = read_clock()
local found = {}
for index, account in ipairs(open_accounts(1, 1, clock)) do
  for dimension = 1, DIMENSIONS do
    if account.rules[dimension] ~= NONE then
      found[#found + 1] = verdict(account, index, dimension, clock, reset_after(account, dimension, clock))
    end
  end
end
return found
