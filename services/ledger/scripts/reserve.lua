-- Lets a request in, or not at all: every limit is looked at before anything
-- is counted. The same lease id gives the same lease again.
--
-- KEYS: lease, leases by their end, readiness, then account and its leases, in pairs.
-- ARGV: lease id, its life in microseconds, tokens of the prompt, tokens of
-- answer wanted, prices of both in nanos, terms as the lease shall keep them,
-- rules.
-- Returns: 'granted', tokens of answer, the nearest limit;
-- 'refused', the limit in the way; 'settled'; 'unready'.

local clock = read_clock()
local life = whole(ARGV[2], DAY)
local prompt, wanted = whole(ARGV[3], MOST_TOKENS), whole(ARGV[4], MOST_TOKENS)
local price = {prompt = whole(ARGV[5], MOST_PRICE), completion = whole(ARGV[6], MOST_PRICE)}
local accounts = open_accounts(4, 8, clock)

local earlier = redis.call('HMGET', KEYS[1], 'completion', 'settled')
if earlier[2] then
  return {'settled'}
elseif earlier[1] then
  return {'granted', earlier[1], nearest(accounts, clock)}
end

local budgeted = false
for _, account in ipairs(accounts) do
  for dimension = DAY_TOKENS, MONTH_NANOS do
    budgeted = budgeted or account.rules[dimension] ~= NONE
  end
end
if budgeted and redis.call('EXISTS', KEYS[3]) == 0 then
  return {'unready'}
end

local least = math.min(1, wanted)

-- What a limit must have left for the request, in the limit's own unit.
local function needed(dimension)
  if dimension == REQUESTS or dimension == STREAMS then return 1 end
  if dimension >= DAY_NANOS then return prompt * price.prompt + least * price.completion end
  return prompt + least
end

-- Microseconds until a limit has enough; the longest of all time where it never does.
local function wait_for(account, dimension, need)
  local limit = account.rules[dimension]
  if need > limit then return MOST end
  if dimension == REQUESTS or dimension == TOKENS then
    local debt = dimension == REQUESTS and account.requests or account.tokens
    return math.ceil((debt + (need - limit) * MINUTE) / limit)
  end
  return reset_after(account, dimension, clock)
end

local function lacks(account, dimension, need)
  local limit = account.rules[dimension]
  if dimension == REQUESTS then return account.requests + need * MINUTE > limit * MINUTE end
  if dimension == TOKENS then return account.tokens + need * MINUTE > limit * MINUTE end
  return used(account, dimension, clock) + need > limit
end

local longest, obstacle = -1, nil
for index, account in ipairs(accounts) do
  for dimension = 1, DIMENSIONS do
    if account.rules[dimension] ~= NONE then
      local need = needed(dimension)
      if lacks(account, dimension, need) then
        local wait = wait_for(account, dimension, need)
        if wait > longest then
          longest, obstacle = wait, verdict(account, index, dimension, clock, wait == MOST and NONE or wait)
        end
      end
    end
  end
end
if obstacle then
  return {'refused', obstacle}
end

local granted = math.max(0, (room_after(accounts, prompt, price, wanted)))
local ends = clock.now + life
for _, account in ipairs(accounts) do
  if account.rules[REQUESTS] ~= NONE then
    account.requests = account.requests + MINUTE
  end
  charge(account, prompt + granted, prompt * price.prompt + granted * price.completion, true, true)
  save(account, clock)
  local added = redis.call('ZADD', account.live, text(ends), ARGV[1])
  account.running = account.running and account.running + added
  redis.call('PEXPIRE', account.live, KEEP_MS)
end
redis.call('HSET', KEYS[1], 'prompt', text(prompt), 'completion', text(granted), 'ends', text(ends),
  'day', text(clock.day), 'month', text(clock.month), 'terms', ARGV[7])
redis.call('PEXPIRE', KEYS[1], KEEP_MS)
redis.call('ZADD', KEYS[2], text(ends), ARGV[1])
return {'granted', text(granted), nearest(accounts, clock)}
