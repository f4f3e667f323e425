-- Moves an API key to a header of its own, so that the token check never sees
-- it, and marks the request for the key exchange. A key beats a token: a caller
-- who sends both gets the key's rights.
--
-- What auth gave for a key is used again for as long as auth said, which is
-- less than a second, so that of a client's many calls few wait for auth. Each
-- worker thread keeps its own answers.

local KEY_PREFIX = "parley_"
local EXCHANGE = "envoy.filters.http.ext_authz"
local MOST_ANSWERS = 10000
local MOST_SLOTS = 4096
local LONGEST_MILLISECONDS = 1000

-- By address and key: `authorization`, and until when it is `good`.
local answers, answer_count = {}, 0
-- Which address and key a request came with, until it is answered. They travel
-- with the request as a ticket's number alone, since its metadata may be logged.
-- A number is never used twice; of a slot's two requests the later one is kept.
local slots, last_ticket = {}, 0

-- The credentials of an authorization header with the scheme Bearer, which is
-- case-insensitive (RFC 9110, section 11.1).
local function bearer(value)
  local scheme, credentials = value:match("^%s*(%a+)%s+(%S+)%s*$")
  if scheme ~= nil and scheme:lower() == "bearer" then
    return credentials
  end
  return nil
end

local function starts_with(value, prefix)
  return value:sub(1, #prefix) == prefix
end

local function is_good(answer, now)
  -- A clock that was set back must not prolong an answer.
  return now < answer.good and answer.good - now <= LONGEST_MILLISECONDS
end

local function make_room(now)
  answer_count = 0
  for name, answer in pairs(answers) do
    if is_good(answer, now) then
      answer_count = answer_count + 1
    else
      answers[name] = nil
    end
  end
  if answer_count >= MOST_ANSWERS then
    answers, answer_count = {}, 0
  end
end

local function keep(name, answer, now)
  if answers[name] == nil then
    if answer_count >= MOST_ANSWERS then
      make_room(now)
    end
    answer_count = answer_count + 1
  end
  answers[name] = answer
end

-- Puts the token that stands for the key on the request, or has it exchanged.
local function identify(handle, headers, key)
  local address = handle:streamInfo():downstreamRemoteAddress():gsub(":%d+$", "")
  local name = address .. " " .. key
  local answer = answers[name]
  if answer ~= nil and is_good(answer, handle:timestamp()) then
    headers:replace("authorization", answer.authorization)
    return
  end
  last_ticket = last_ticket + 1
  slots[last_ticket % MOST_SLOTS] = { ticket = last_ticket, name = name }
  headers:replace("x-parley-key", key)
  local metadata = handle:streamInfo():dynamicMetadata()
  metadata:set("parley.edge", "carries_key", true)
  metadata:set("parley.edge", "ticket", last_ticket)
end

function envoy_on_request(handle)
  local headers = handle:headers()
  local authorization = headers:get("authorization")
  local key = headers:get("x-api-key")
  if authorization ~= nil then
    local credentials = bearer(authorization)
    -- More than one value, or another scheme, identifies nobody.
    if credentials == nil or headers:getNumValues("authorization") > 1 then
      headers:remove("authorization")
    elseif starts_with(credentials, KEY_PREFIX) then
      key = key or credentials
      headers:remove("authorization")
    else
      headers:replace("authorization", "Bearer " .. credentials)
    end
  end
  if key ~= nil then
    headers:remove("authorization")
    headers:remove("x-api-key")
    identify(handle, headers, key)
  end
end

function envoy_on_response(handle)
  local metadata = handle:streamInfo():dynamicMetadata()
  local given = metadata:get(EXCHANGE)
  local asked = metadata:get("parley.edge")
  if given == nil or asked == nil or given.authorization == nil then
    return
  end
  metadata:set(EXCHANGE, "authorization", "")
  local slot = slots[asked.ticket % MOST_SLOTS]
  if slot ~= nil and slot.ticket == asked.ticket and given.seconds > 0 then
    local now = handle:timestamp()
    slots[asked.ticket % MOST_SLOTS] = nil
    keep(slot.name, { authorization = given.authorization, good = now + given.seconds * 1000 }, now)
  end
end
