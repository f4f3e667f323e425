-- Gives a lease more, as far as the budgets reach, and renews it. What is
-- asked for is what the lease shall have in all, so that asking twice counts
-- once. A prompt is granted whole and with a token of answer, or not at all;
-- what the turn before it left of its answer is given back for it.
--
-- KEYS: lease, leases by their end, then account and its leases, in pairs.
-- ARGV: lease id, its life in microseconds, tokens of the prompts in all,
-- tokens of answer wanted in all, prices of both in nanos, tokens of answer
-- used so far, rules.
-- Returns: 'granted', tokens of the prompts, tokens of answer, the limit in
-- the way if one is; 'gone' where the lease is settled, over or unknown.

local clock = read_clock()
local life = whole(ARGV[2], DAY)
local prompt, wanted = whole(ARGV[3], MOST_TOKENS), whole(ARGV[4], MOST_TOKENS)
local price = {prompt = whole(ARGV[5], MOST_PRICE), completion = whole(ARGV[6], MOST_PRICE)}

local used_so_far = whole(ARGV[7], MOST_TOKENS)

local lease = redis.call('HMGET', KEYS[1], 'prompt', 'completion', 'ends', 'settled', 'day', 'month')
if lease[4] or not lease[1] or tonumber(lease[3]) <= clock.now then
  return {'gone'}
end
local had_prompt, had = tonumber(lease[1]), tonumber(lease[2])
local today, this_month = tonumber(lease[5]) == clock.day, tonumber(lease[6]) == clock.month
local more_prompt = math.max(0, prompt - had_prompt)
local back = more_prompt > 0 and math.max(0, had - used_so_far) or 0
local more = math.max(0, wanted - (had - back))

local accounts = open_accounts(3, 8, clock)
local function give_back(tokens)
  for _, account in ipairs(accounts) do
    charge(account, -tokens, -tokens * price.completion, today, this_month)
  end
end

give_back(back)
local room, tight, dimension = room_after(accounts, more_prompt, price, math.max(1, more))
if more_prompt > 0 and room < 1 then
  give_back(-back)
  more_prompt, more, back = 0, 0, 0
else
  more = math.max(0, math.min(more, room))
end
had = had - back

local ends = clock.now + life
local obstacle = {}
for index, account in ipairs(accounts) do
  charge(account, more_prompt + more, more_prompt * price.prompt + more * price.completion, true, true)
  save(account, clock)
  redis.call('ZADD', account.live, text(ends), ARGV[1])
  if index == tight then
    obstacle = verdict(account, index, dimension, clock, reset_after(account, dimension, clock))
  end
end
redis.call('HSET', KEYS[1], 'prompt', text(had_prompt + more_prompt), 'completion', text(had + more),
  'ends', text(ends))
if more_prompt + more > 0 then
  redis.call('HSET', KEYS[1], 'day', text(clock.day), 'month', text(clock.month))
end
redis.call('ZADD', KEYS[2], text(ends), ARGV[1])
return {'granted', text(had_prompt + more_prompt), text(had + more), obstacle}
