-- What every script begins with: time, whole numbers, and the accounts that
-- usage is counted in.
--
-- An account is one hash. It has the debts of its two rates, which drain with
-- time (GCRA in its form as a leaky bucket, ITU-T I.371, annex A), and what
-- was used in the present day and month of UTC, tokens and billionths of the
-- currency. A sorted set beside it has the leases that run, by when they end.
-- Debts count in sixty-millionths, so that a rate per minute drains by whole
-- numbers each microsecond. All numbers stay below 2^53, where Lua's are exact.

local MINUTE = 60000000
local DAY = 86400000000
local MOST = 9007199254740991
local MOST_DEBT = 9000000000000000
local MOST_TOKENS = 100000000
local MOST_PRICE = 10000000
local KEEP_MS = 40 * 86400000
local NONE = -1

local REQUESTS, TOKENS, STREAMS = 1, 2, 3
local DAY_TOKENS, MONTH_TOKENS, DAY_NANOS, MONTH_NANOS = 4, 5, 6, 7
local DIMENSIONS = 7

local function refuse(why)
  error({err = 'LEDGER ' .. why})
end

local function whole(argument, most)
  local number = tonumber(argument)
  if not number or number ~= math.floor(number) or number < 0 or number > (most or MOST) then
    refuse('not a whole number in range: ' .. tostring(argument))
  end
  return number
end

local function text(number)
  return string.format('%.0f', number)
end

local function microseconds()
  local time = redis.call('TIME')
  return tonumber(time[1]) * 1000000 + tonumber(time[2])
end

-- The civil month of a day since 1970, and the day on which the next begins
-- (H. Hinnant, "chrono-compatible low-level date algorithms").
local function month_of(day)
  local shifted = day + 719468
  local era = math.floor(shifted / 146097)
  local of_era = shifted - era * 146097
  local year = math.floor(
    (of_era - math.floor(of_era / 1460) + math.floor(of_era / 36524) - math.floor(of_era / 146096)) / 365)
  local of_year = of_era - (365 * year + math.floor(year / 4) - math.floor(year / 100))
  local part = math.floor((5 * of_year + 2) / 153)
  local month = part < 10 and part + 3 or part - 9
  return (year + era * 400 + (month <= 2 and 1 or 0)) * 12 + month - 1
end

local function next_month(day)
  local present = month_of(day)
  local later = day + 1
  while month_of(later) == present do
    later = later + 1
  end
  return later
end

-- The clock of one script's run.
local function read_clock()
  local now = microseconds()
  local day = math.floor(now / DAY)
  return {now = now, day = day, month = month_of(day)}
end

local function drained(debt, elapsed, rate)
  if rate == NONE then
    return 0
  end
  return math.max(0, debt - elapsed * rate)
end

-- An account as it is now; windows that are over count nothing.
local function open_account(key, live, rules, clock)
  local held = redis.call('HMGET', key, 'at', 'requests', 'tokens', 'day', 'day_tokens', 'day_nanos',
    'month', 'month_tokens', 'month_nanos')
  local function figure(index)
    return tonumber(held[index] or 0) or 0
  end
  local elapsed = math.max(0, clock.now - figure(1))
  local today, this_month = figure(4) == clock.day, figure(7) == clock.month
  return {
    key = key, live = live, rules = rules,
    requests = drained(figure(2), elapsed, rules[REQUESTS]),
    tokens = drained(figure(3), elapsed, rules[TOKENS]),
    day_tokens = today and figure(5) or 0, day_nanos = today and figure(6) or 0,
    month_tokens = this_month and figure(8) or 0, month_nanos = this_month and figure(9) or 0,
  }
end

-- The accounts that KEYS from `first` name in pairs. ARGV from `from` has the
-- rules of each in one text: seven numbers, nothing where there is no limit.
local function open_accounts(first, from, clock)
  local accounts = {}
  for index = first, #KEYS, 2 do
    local rules = {}
    for rule in string.gmatch(ARGV[from + #accounts], '([^,]*),') do
      rules[#rules + 1] = rule == '' and NONE or whole(rule)
    end
    accounts[#accounts + 1] = open_account(KEYS[index], KEYS[index + 1], rules, clock)
  end
  return accounts
end

local function save(account, clock)
  redis.call('HSET', account.key, 'at', text(clock.now),
    'requests', text(account.requests), 'tokens', text(account.tokens),
    'day', text(clock.day), 'day_tokens', text(account.day_tokens), 'day_nanos', text(account.day_nanos),
    'month', text(clock.month), 'month_tokens', text(account.month_tokens),
    'month_nanos', text(account.month_nanos))
  redis.call('PEXPIRE', account.key, KEEP_MS)
end

-- How many leases run; those that are over free their places here.
local function running(account, clock)
  if not account.running then
    redis.call('ZREMRANGEBYSCORE', account.live, '-inf', text(clock.now))
    account.running = redis.call('ZCARD', account.live)
  end
  return account.running
end

-- How much of a limit is used, in its own unit.
local function used(account, dimension, clock)
  if dimension == REQUESTS then return math.ceil(account.requests / MINUTE) end
  if dimension == TOKENS then return math.ceil(account.tokens / MINUTE) end
  if dimension == STREAMS then return running(account, clock) end
  if dimension == DAY_TOKENS then return account.day_tokens end
  if dimension == MONTH_TOKENS then return account.month_tokens end
  if dimension == DAY_NANOS then return account.day_nanos end
  return account.month_nanos
end

-- Microseconds until nothing of a limit is used.
local function reset_after(account, dimension, clock)
  if dimension == REQUESTS or dimension == TOKENS then
    local debt = dimension == REQUESTS and account.requests or account.tokens
    local rate = account.rules[dimension]
    return rate > 0 and math.ceil(debt / rate) or 0
  end
  if dimension == STREAMS then return 1000000 end
  if dimension == DAY_TOKENS or dimension == DAY_NANOS then
    return (clock.day + 1) * DAY - clock.now
  end
  return next_month(clock.day) * DAY - clock.now
end

-- Adds to what is used; negative numbers give back, never below nothing.
-- `today` and `this_month` tell whether those windows are the lease's own.
local function charge(account, tokens, nanos, today, this_month)
  if account.rules[TOKENS] ~= NONE then
    account.tokens = math.min(MOST_DEBT, math.max(0, account.tokens + tokens * MINUTE))
  end
  if today then
    account.day_tokens = math.min(MOST, math.max(0, account.day_tokens + tokens))
    account.day_nanos = math.min(MOST, math.max(0, account.day_nanos + nanos))
  end
  if this_month then
    account.month_tokens = math.min(MOST, math.max(0, account.month_tokens + tokens))
    account.month_nanos = math.min(MOST, math.max(0, account.month_nanos + nanos))
  end
end

-- How many tokens of answer the budgets have left after a prompt; negative
-- where they do not even have the prompt. Also which limit is the one.
local function room_after(accounts, prompt, price, most)
  local room, tight, at = most, 0, 0
  for index, account in ipairs(accounts) do
    for dimension = DAY_TOKENS, MONTH_NANOS do
      local limit = account.rules[dimension]
      if limit ~= NONE then
        local left = limit - used(account, dimension) - prompt
        if dimension >= DAY_NANOS then
          left = limit - used(account, dimension) - prompt * price.prompt
          if left >= 0 then
            left = price.completion > 0 and math.floor(left / price.completion) or most
          end
        end
        if left < room then
          room, tight, at = left, index, dimension
        end
      end
    end
  end
  return room, tight, at
end

local function verdict(account, index, dimension, clock, wait)
  local limit = account.rules[dimension]
  return {text(index), text(dimension), text(limit), text(limit - used(account, dimension, clock)), text(wait)}
end

-- The limit with the smallest share left, as {account, dimension, limit, left, reset}.
local function nearest(accounts, clock)
  local least, at, of = 2, nil, nil
  for index, account in ipairs(accounts) do
    for dimension = 1, DIMENSIONS do
      local limit = account.rules[dimension]
      if limit ~= NONE then
        local share = limit > 0 and (limit - used(account, dimension, clock)) / limit or 0
        if share < least then
          least, at, of = share, index, dimension
        end
      end
    end
  end
  if not at then
    return {}
  end
  return verdict(accounts[at], at, of, clock, reset_after(accounts[at], of, clock))
end
