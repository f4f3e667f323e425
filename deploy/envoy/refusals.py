"""What callers read when Envoy itself refuses: the same typed errors that services give."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta

from google.protobuf import json_format
from google.rpc import code_pb2, error_details_pb2, status_pb2

from deploy.envoy.contract import Contract
from deploy.envoy.filters import ORIGIN_POLICY, SIZE_POLICY
from deploy.envoy.tree import Tree, cel
from services.rpc.errors import (
    DeadlineExceeded,
    DependencyUnavailable,
    InvalidRequest,
    MethodUnknown,
    Overloaded,
    TokenExpired,
    TokenInvalid,
    TokenMissing,
)

BODY = "%LOCAL_REPLY_BODY%"
RETRY = timedelta(seconds=1)

# Who reads trailers. Before its filter gRPC-Web is plain HTTP; the transcoder turns JSON into gRPC and
# leaves the caller's own path behind in a header that nobody outside can send.
GRPC_CALLER = (
    "request.headers['content-type'].startsWith('application/grpc') "
    "&& !request.headers['content-type'].startsWith('application/grpc-web') "
    "&& !('x-envoy-original-path' in request.headers)"
)


@dataclass(frozen=True)
class Refusal:
    """One kind of refusal.

    Attributes:
        when: CEL expression over the request and the answer that Envoy is about to give.
        http_status: Status of the answer to callers that speak HTTP.
        status: What every caller reads.
        explained: Whether Envoy's own text says more than the status' message; it then replaces it.
    """

    when: str
    http_status: int
    status: status_pb2.Status
    explained: bool = False


def refusals(contract: Contract) -> Iterator[Refusal]:
    """Every kind of refusal, first match first."""
    yield from _identity_refusals()
    yield from _request_refusals()
    for server, prefixes in _paths(contract).items():
        to_server = " || ".join(f"request.path.startsWith('{prefix}')" for prefix in prefixes)
        unavailable = DependencyUnavailable(server)
        yield Refusal(f"response.code == 503 && ({to_server})", 503, unavailable.to_status())
    yield Refusal("response.code == 503", 503, DependencyUnavailable("web").to_status())


def _identity_refusals() -> Iterator[Refusal]:
    """The caller showed nothing, or nothing good."""
    yield Refusal(_jwt("Jwt_is_missing"), 401, TokenMissing().to_status())
    yield Refusal(_jwt("Jwt_is_expired"), 401, TokenExpired().to_status())
    yield Refusal(_jwt("Jwks_remote_fetch_is_failed"), 503, DependencyUnavailable("auth").to_status())
    yield Refusal(_jwt(""), 401, TokenInvalid().to_status())
    yield Refusal(_details("ext_authz_error"), 503, DependencyUnavailable("auth").to_status())
    yield Refusal(
        _policy(ORIGIN_POLICY), 403, _plain(code_pb2.PERMISSION_DENIED, "Pages of this origin may not call.")
    )


def _request_refusals() -> Iterator[Refusal]:
    """The request cannot be taken."""
    flood = Overloaded("Too many calls without a token come from your address.", retry_after=RETRY)
    yield Refusal(_details("local_rate_limited"), 429, flood.to_status())
    too_large = InvalidRequest("The request is larger than the edge takes.").to_status()
    unreadable = InvalidRequest("The request cannot be read.").to_status()
    yield Refusal(_policy(SIZE_POLICY), 413, too_large)
    yield Refusal("response.code == 413", 413, too_large)
    yield Refusal("response.code == 400", 400, unreadable, explained=True)
    yield Refusal("response.code == 404", 404, MethodUnknown().to_status())
    yield Refusal("response.code == 405", 405, MethodUnknown().to_status())
    yield Refusal("response.code == 504", 504, DeadlineExceeded("The service took too long.").to_status())
    overloaded = Overloaded("The edge is full; try again.", retry_after=RETRY)
    yield Refusal("response.code_details.contains('overflow')", 429, overloaded.to_status())


def _paths(contract: Contract) -> dict[str, list[str]]:
    """The path prefixes of each server's services."""
    paths: dict[str, list[str]] = {}
    for service, server in sorted({(method.service, method.server) for method in contract.methods}):
        paths.setdefault(server, []).append(f"/{service}/")
    return paths


def local_replies(contract: Contract) -> Tree:
    """Rewrites Envoy's own answers."""
    mappers = [mapper for refusal in refusals(contract) for mapper in (_as_grpc(refusal), _as_json(refusal))]
    return {"mappers": [*_told_by_auth(), *mappers, _others()]}


def _told_by_auth() -> list[Tree]:
    """What auth answers to a bad key stands as it is: a body for HTTP, and the same in headers for gRPC.

    Envoy would give gRPC callers the body for a message.
    """
    denied = _details("ext_authz_denied")
    return [
        _reworded(f"{GRPC_CALLER} && {denied}", "%RESP(grpc-message)%", "text/plain"),
        _reworded(denied, BODY, "application/json"),
    ]


def _reworded(when: str, text: str, content_type: str) -> Tree:
    body = {"text_format_source": {"inline_string": text}, "content_type": content_type}
    return {"filter": _cel(when), "body_format_override": body}


def _as_grpc(refusal: Refusal) -> Tree:
    """The refusal as trailers, with the details in the form that gRPC libraries read."""
    status = refusal.status
    details = base64.b64encode(status.SerializeToString()).decode()
    mapper = {
        "filter": _cel(f"{GRPC_CALLER} && {refusal.when}"),
        "status_code": refusal.http_status,
        "headers_to_add": [
            _header("grpc-status", str(status.code)),
            _header("grpc-status-details-bin", details),
            *_retry_after(status),
        ],
    }
    return mapper if refusal.explained else {**mapper, "body": {"inline_string": status.message}}


def _as_json(refusal: Refusal) -> Tree:
    """The refusal as the transcoder would write it had a service refused."""
    body: Tree = json.loads(json_format.MessageToJson(refusal.status))
    body["details"] = body.get("details", [])
    body["message"] = BODY if refusal.explained else body["message"].replace("%", "%%")
    return {
        "filter": _cel(refusal.when),
        "status_code": refusal.http_status,
        "headers_to_add": _retry_after(refusal.status),
        "body_format_override": {"json_format": body, "content_type": "application/json"},
    }


def _retry_after(status: status_pb2.Status) -> list[Tree]:
    """The time to wait, for callers that read headers."""
    retry = error_details_pb2.RetryInfo()
    if not any(detail.Unpack(retry) for detail in status.details):
        return []
    return [_header("retry-after", str(max(1, retry.retry_delay.seconds)))]


def _others() -> Tree:
    """Whatever else Envoy refuses to callers that speak HTTP, in the same shape."""
    body = {"code": code_pb2.UNKNOWN, "message": BODY, "details": []}
    return {
        "filter": _cel(f"!({GRPC_CALLER})"),
        "body_format_override": {"json_format": body, "content_type": "application/json"},
    }


def _plain(code: int, message: str) -> status_pb2.Status:
    """A refusal that the contracts have no reason for."""
    return status_pb2.Status(code=code, message=message)


def _jwt(why: str) -> str:
    return _details(f"jwt_authn_access_denied{{{why}")


def _policy(name: str) -> str:
    return _details(f"rbac_access_denied_matched_policy[{name}]")


def _details(prefix: str) -> str:
    return f"response.code_details.startsWith('{prefix}')"


def _cel(expression: str) -> Tree:
    return {"extension_filter": cel(expression)}


def _header(name: str, value: str) -> Tree:
    return {"header": {"key": name, "value": value}, "append_action": "ADD_IF_ABSENT"}
