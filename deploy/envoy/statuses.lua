-- Makes the HTTP status of an answer what its service asks for. gRPC has no
-- status of HTTP, and a protocol that is carried as HTTP bodies needs its own.

function envoy_on_response(handle)
  local headers = handle:headers()
  local status = headers:get("x-parley-http-status")
  if status ~= nil then
    headers:remove("x-parley-http-status")
    headers:replace(":status", status)
  end
end
