"""Answers Envoy's external authorization: exchanges the API key of a request for an access token."""

from __future__ import annotations

import base64
from urllib.parse import quote

from google.protobuf import json_format
from google.rpc import code_pb2, status_pb2

from parley.edge import external_auth_pb2 as edge_pb2
from parley.edge import external_auth_pb2_grpc
from services.auth.exchange import KeyExchange
from services.auth.keys import parse
from services.rpc.call import AUTHORIZATION, current_call, note
from services.rpc.errors import ServiceError
from services.rpc.interceptors.around import Context
from services.rpc.interceptors.audit import CLIENT_ADDRESS

# Where the edge moves a key that came as `authorization: Bearer parley_…` or as `x-api-key`.
KEY_HEADER = "x-parley-key"
API_KEY_HEADER = "x-api-key"  # a header's name  # pragma: allowlist secret
REQUEST_ID = "x-request-id"
MAX_REQUEST_ID_CHARACTERS = 64

# google/rpc/code.proto names the HTTP status of each code.
HTTP_STATUSES = {
    code_pb2.UNAUTHENTICATED: 401,
    code_pb2.PERMISSION_DENIED: 403,
    code_pb2.RESOURCE_EXHAUSTED: 429,
}
UNAVAILABLE = 503


class EdgeServicer(external_auth_pb2_grpc.AuthorizationServicer):
    """Lets requests with a good key pass under a token, and refuses the others.

    A request without a key passes as it is: its token, if it has one, is
    verified by the edge and again by the service that it goes to.
    """

    def __init__(self, exchange: KeyExchange) -> None:
        """Exchange keys here."""
        self._exchange = exchange

    async def Check(self, request: edge_pb2.CheckRequest, context: Context) -> edge_pb2.CheckResponse:
        """Decide about one request.

        An error is an answer here, not a failed call: of a failed call Envoy
        would tell the client nothing.
        """
        headers = request.attributes.request.http.headers
        key = headers.get(KEY_HEADER)
        if key is None:
            return edge_pb2.CheckResponse(ok_response=edge_pb2.OkHttpResponse())
        call = current_call()
        # The decision is about the caller's request, and is found by its id.
        call.request_id = headers.get(REQUEST_ID, call.request_id)[:MAX_REQUEST_ID_CHARACTERS]
        call.client_address = headers.get(CLIENT_ADDRESS, "")
        try:
            exchanged = await self._exchange.look_up(key, call.client_address)
        except ServiceError as error:
            call.refusal = error
            presented = parse(key)
            note(key_prefix=presented.prefix if presented is not None else "")
            return denial(error.to_status())
        return admission(exchanged.token.text, self._exchange.trusted_seconds(exchanged))


def admission(token: str, seconds: float) -> edge_pb2.CheckResponse:
    """Lets a request pass under a token, which the edge may use again for that long (`credentials.lua`)."""
    authorization = f"Bearer {token}"
    passed = edge_pb2.OkHttpResponse(
        headers=[_header(AUTHORIZATION, authorization)], headers_to_remove=[KEY_HEADER, API_KEY_HEADER]
    )
    response = edge_pb2.CheckResponse(ok_response=passed)
    response.dynamic_metadata.update({"authorization": authorization, "seconds": seconds})
    return response


def denial(status: status_pb2.Status) -> edge_pb2.CheckResponse:
    """The refusal with this status, for gRPC clients in headers and for the others in a JSON body."""
    details = base64.b64encode(status.SerializeToString()).decode().rstrip("=")
    headers = [
        _header("content-type", "application/json"),
        _header("grpc-status", str(status.code)),
        _header("grpc-message", quote(status.message, safe=" !#$&'()*+,/:;=?@[]-._~")),
        _header("grpc-status-details-bin", details),
    ]
    if status.code == code_pb2.UNAUTHENTICATED:
        headers.append(_header("www-authenticate", "Bearer"))
    refused = edge_pb2.DeniedHttpResponse(
        status=edge_pb2.HttpStatus(code=HTTP_STATUSES.get(code_pb2.Code.ValueType(status.code), UNAVAILABLE)),
        headers=headers,
        body=json_format.MessageToJson(status, indent=None),
    )
    return edge_pb2.CheckResponse(status=status, denied_response=refused)


def _header(name: str, value: str) -> edge_pb2.HeaderValueOption:
    return edge_pb2.HeaderValueOption(
        header=edge_pb2.HeaderValue(key=name, value=value),
        append_action=edge_pb2.HeaderValueOption.OVERWRITE_IF_EXISTS_OR_ADD,
    )
