"""What callers read when Envoy itself refuses: the same typed errors that services give."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from dataclasses import dataclass

from google.protobuf import json_format

from deploy.envoy.contract import Contract
from deploy.envoy.tree import Tree, typed
from services.rpc.errors import (
    DeadlineExceeded,
    DependencyUnavailable,
    InvalidRequest,
    MethodUnknown,
    Overloaded,
    ServiceError,
    TokenExpired,
    TokenInvalid,
    TokenMissing,
)

GRPC_REQUEST = "request.headers['content-type'].startsWith('application/grpc')"


@dataclass(frozen=True)
class Refusal:
    """One kind of refusal.

    Attributes:
        when: CEL expression over the request and the answer that Envoy is about to give.
        status: HTTP status of the answer.
        error: The error that it becomes.
    """

    when: str
    status: int
    error: ServiceError


def refusals(contract: Contract) -> Iterator[Refusal]:
    """Every kind that has a reason in the contracts, first match first."""
    yield Refusal(_jwt("Jwt_is_missing"), 401, TokenMissing())
    yield Refusal(_jwt("Jwt_is_expired"), 401, TokenExpired())
    yield Refusal(_jwt("Jwks_remote_fetch_is_failed"), 503, DependencyUnavailable("auth"))
    yield Refusal(_details("jwt_authn_access_denied"), 401, TokenInvalid())
    yield Refusal(_details("ext_authz_error"), 503, DependencyUnavailable("auth"))
    yield Refusal("response.code_details.contains('overflow')", 429, Overloaded("The edge is full: try again."))
    for server in sorted({method.server for method in contract.methods}):
        for service in sorted({method.service for method in contract.methods if method.server == server}):
            to_service = f"request.path.startsWith('/{service}/')"
            yield Refusal(f"response.code == 503 && {to_service}", 503, DependencyUnavailable(server))
    yield Refusal("response.code == 504", 504, DeadlineExceeded("The service took too long."))
    yield Refusal("response.code == 404", 404, MethodUnknown())
    yield Refusal("response.code == 413", 413, InvalidRequest("The request is larger than the edge takes."))


def local_replies(contract: Contract) -> Tree:
    """Rewrites Envoy's own answers."""
    mappers = [mapper for refusal in refusals(contract) for mapper in _mappers(refusal)]
    return {"mappers": [*mappers, _others()]}


def _mappers(refusal: Refusal) -> Iterator[Tree]:
    """The refusal for gRPC, as trailers, and for everyone else, as JSON."""
    status = refusal.error.to_status()
    details = base64.b64encode(status.SerializeToString()).decode()
    yield {
        "filter": _cel(f"{GRPC_REQUEST} && {refusal.when}"),
        "status_code": refusal.status,
        "body": {"inline_string": status.message},
        "headers_to_add": [_header("grpc-status", str(status.code)), _header("grpc-status-details-bin", details)],
    }
    body = json.dumps(json_format.MessageToDict(status), separators=(",", ":"))
    yield {
        "filter": _cel(refusal.when),
        "status_code": refusal.status,
        "body_format_override": {
            "text_format_source": {"inline_string": body.replace("%", "%%")},
            "content_type": "application/json",
        },
    }


def _others() -> Tree:
    """Whatever else Envoy refuses over plain HTTP, as JSON of the same shape."""
    return {
        "filter": _cel(f"!({GRPC_REQUEST})"),
        "body_format_override": {
            "json_format": {"message": "%LOCAL_REPLY_BODY%", "details": []},
            "content_type": "application/json",
        },
    }


def _jwt(why: str) -> str:
    return _details(f"jwt_authn_access_denied{{{why}")


def _details(prefix: str) -> str:
    return f"response.code_details.startsWith('{prefix}')"


def _cel(expression: str) -> Tree:
    message = "envoy.extensions.access_loggers.filters.cel.v3.ExpressionFilter"
    return {"extension_filter": {"name": "cel", "typed_config": typed(message, expression=expression)}}


def _header(name: str, value: str) -> Tree:
    return {"header": {"key": name, "value": value}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}
