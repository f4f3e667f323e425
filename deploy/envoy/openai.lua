-- Gives errors the shape that OpenAI's clients read. What comes is the JSON of a
-- google.rpc.Status, whoever refused: a service, through the transcoder, or the
-- edge itself. The tables are those that the service ends its streams by.

local TYPES = { @TYPES@ }
local OTHER_TYPE = "@OTHER_TYPE@"
local CODES = { @CODES@ }
local PARAMETERS = { @PARAMETERS@ }

-- The text of the first member of this name, as JSON writes it between quotes.
-- What a caller wrote stands escaped, so that it looks like no member.
local function text(json, name)
  local _, quote = json:find('"' .. name .. '"%s*:%s*"')
  local at = quote and quote + 1
  while at do
    local stop = json:find('["\\]', at)
    if stop and json:sub(stop, stop) == '"' then
      return json:sub(quote + 1, stop - 1)
    end
    at = stop and stop + 2
  end
  return nil
end

local function quoted(value)
  return value and '"' .. value .. '"' or "null"
end

local function reshaped(json)
  local code = tonumber(json:match('"code"%s*:%s*(%d+)'))
  local reason = text(json, "reason") or ""
  local parameter = text(json, "@PARAMETER_KEY@") or PARAMETERS[reason]
  local word = CODES[reason] or (reason ~= "" and reason:lower() or nil)
  return string.format(
    '{"error":{"message":%s,"type":%s,"param":%s,"code":%s}}',
    quoted(text(json, "message") or ""),
    quoted(TYPES[code] or OTHER_TYPE),
    quoted(parameter),
    quoted(word)
  )
end

function envoy_on_response(handle)
  local headers = handle:headers()
  local refused = tonumber(headers:get(":status")) >= 400
  if not refused or (headers:get("content-type") or ""):sub(1, 16) ~= "application/json" then
    return
  end
  local body = handle:body(true)
  local size = body:setBytes(reshaped(body:getBytes(0, body:length())))
  headers:replace("content-length", size)
end
