-- Moves an API key to a header of its own, so that the token check never sees
-- it, and marks the request for the key exchange. A key beats a token: a caller
-- who sends both gets the key's rights.

local KEY_PREFIX = "parley_"

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
    headers:replace("x-parley-key", key)
    handle:streamInfo():dynamicMetadata():set("parley.edge", "carries_key", true)
  end
end
