"""Where each call goes, derived from the contracts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from deploy.envoy.clusters import WEB, affine
from deploy.envoy.contract import Method
from deploy.envoy.endpoints import pool
from deploy.envoy.filters import (
    CORS,
    HTTP_FILTERS,
    JWT_CHECK,
    KEY_EXCHANGE,
    MEASURE,
    STATUSES,
    TRANSCODER,
    Scope,
    asked_status,
    event_stream_transcoder,
)
from deploy.envoy.flood import FLOOD_LIMIT, limited
from deploy.envoy.openai import PREFIX as OPENAI_PREFIX
from deploy.envoy.openai import named, names_model, openai_errors, reads_model
from deploy.envoy.settings import EdgeSettings
from deploy.envoy.tree import Tree, seconds, typed

MODEL_HEADER = "parley-model"
CONVERSATION_HEADER = "parley-conversation"
NOWHERE = "x-parley-nowhere"
API_PREFIX = "/api/"
WELL_KNOWN_PREFIX = "/.well-known/"
GRPC = {"name": "content-type", "string_match": {"prefix": "application/grpc"}}
SIZED = {"name": "content-length", "present_match": True}
ACCEPTS_EVENTS = {"name": "accept", "string_match": {"contains": "text/event-stream"}}

# Nothing has reached a service when one of these happens, so every call may be
# sent again; the second list may have, so only idempotent ones may.
RETRY_UNSENT = "connect-failure,refused-stream,reset-before-request"
RETRY_IDEMPOTENT = f"{RETRY_UNSENT},reset,unavailable"

CORS_REQUEST_HEADERS = (
    "authorization",
    "content-type",
    "grpc-timeout",
    "mcp-method",
    "mcp-name",
    "mcp-protocol-version",
    "parley-conversation",
    "parley-model",
    "x-api-key",
    "x-grpc-web",
    "x-user-agent",
)
CORS_RESPONSE_HEADERS = (
    "grpc-message",
    "grpc-status",
    "grpc-status-details-bin",
    "retry-after",
    "x-ratelimit-limit",
    "x-ratelimit-remaining",
    "x-ratelimit-reset",
    "x-request-id",
)


def route_configuration(scope: Scope) -> Tree:
    """The public listener's routes."""
    return {
        "name": "edge",
        "virtual_hosts": [
            {
                "name": "edge",
                "domains": ["*"],
                "routes": list(_routes(scope)),
                "typed_per_filter_config": {
                    CORS: _cors_policy(scope),
                    MEASURE: typed(f"{HTTP_FILTERS}.buffer.v3.BufferPerRoute", disabled=True),
                },
                # What the key exchange did not take off: no service but auth sees a key.
                "request_headers_to_remove": ["x-parley-key", "x-api-key"],
                "response_headers_to_remove": ["grpc-accept-encoding"],
            }
        ],
    }


def jwks_route_configuration(scope: Scope) -> Tree:
    """The inner listener's only route: the method that gives the signing keys."""
    method = scope.contract.method("parley.auth.v1.SessionService.GetJwks")
    route = {"match": {"path": method.path}, "route": _action(method, "auth", scope.settings)}
    # The transcoder needs a route for the HTTP path too, before it has turned it into the method's.
    template = {"match": {"path": method.bindings[0].template}, "direct_response": {"status": 404}}
    return {
        "name": "jwks",
        "virtual_hosts": [{"name": "jwks", "domains": ["*"], "routes": [route, template]}],
    }


def _routes(scope: Scope) -> Iterator[Tree]:
    """First the methods, one by one; then what is refused; the page takes the rest.

    The transcoder turns `/api/…` into a method's path and has the route chosen
    anew, so an API path that still stands here belongs to no method.
    """
    for method in scope.contract.methods:
        yield from _method_routes(method, scope.settings)
    yield _unknown("/", headers=[GRPC])
    yield from _api(scope)
    yield _openai(scope)
    yield from _own_paths(scope)
    yield _unknown(WELL_KNOWN_PREFIX)
    yield _page() if scope.settings.web_address else _unknown("/")


def _api(scope: Scope) -> Iterator[Tree]:
    """The routes of `/api/…` before the transcoder: how to read the body and how to write a stream."""
    events = {TRANSCODER: event_stream_transcoder(scope)}
    measured = {MEASURE: _measured(scope.settings)}
    yield _unknown(API_PREFIX, headers=[ACCEPTS_EVENTS, SIZED], per_filter=events)
    yield _unknown(API_PREFIX, headers=[ACCEPTS_EVENTS], per_filter={**events, **measured})
    yield _unknown(API_PREFIX, headers=[SIZED])
    yield _unknown(API_PREFIX, per_filter=measured)


def _openai(scope: Scope) -> Tree:
    """The route of OpenAI's paths before the transcoder, which reads the body to know the model."""
    measured = _measured(scope.settings)
    return _unknown(OPENAI_PREFIX, per_filter={STATUSES: openai_errors(), MEASURE: measured, **reads_model()})


def _own_paths(scope: Scope) -> Iterator[Tree]:
    """The routes of protocols that have a path of their own, before the transcoder."""
    per_filter = {STATUSES: asked_status()}
    for path, verbs in sorted(_bound_outside_the_api(scope).items()):
        yield _other_verbs(path, verbs)
        yield _unknown(path, headers=[SIZED], per_filter=per_filter)
        yield _unknown(path, per_filter={**per_filter, MEASURE: _measured(scope.settings)})


def _bound_outside_the_api(scope: Scope) -> dict[str, set[str]]:
    """The verbs of each path that belongs to a method and to none of the surfaces with a prefix."""
    found: dict[str, set[str]] = {}
    for method in scope.contract.methods:
        for binding in method.bindings:
            if not binding.template.startswith((API_PREFIX, OPENAI_PREFIX, WELL_KNOWN_PREFIX)):
                found.setdefault(binding.template, set()).add(binding.verb)
    return found


def _other_verbs(path: str, verbs: set[str]) -> Tree:
    """Answers that the path takes other verbs; preflights pass."""
    names = sorted(verbs)
    others = [
        {"name": ":method", "string_match": {"exact": verb}, "invert_match": True}
        for verb in (*names, "OPTIONS")
    ]
    return {
        "name": f"other verbs {path}",
        "match": {"path": path, "headers": others},
        "direct_response": {"status": 405},
        "response_headers_to_add": [{"header": {"key": "allow", "value": ", ".join(names)}}],
        "typed_per_filter_config": _without_checks(),
    }


def _measured(settings: EdgeSettings) -> Tree:
    """Has the edge read the whole body first, since it did not say its size."""
    buffer = {"max_request_bytes": settings.max_body_bytes}
    return typed(f"{HTTP_FILTERS}.buffer.v3.BufferPerRoute", buffer=buffer)


def _method_routes(method: Method, settings: EdgeSettings) -> Iterator[Tree]:
    """A method's routes: for inference one per model and one for calls that name none we know.

    A replica of the default pool tells the caller which models there are. What
    a body names comes before what a header does.
    """
    if method.server != "inference":
        yield _method_route(method, method.server, settings)
        return
    if _is_openai(method):
        for model in settings.models:
            for by_body in _pool_routes(method, model, settings):
                by_body["match"]["dynamic_metadata"] = [names_model(model)]
                yield by_body
    for model in settings.models:
        by_header = {"name": MODEL_HEADER, "string_match": named(model)}
        yield from _pool_routes(method, model, settings, by_header)
    yield from _pool_routes(method, settings.default_pool, settings)


def _pool_routes(method: Method, model: str, settings: EdgeSettings, *headers: Tree) -> Iterator[Tree]:
    """A method's routes to a model's pool: what streams text of a conversation goes to its replica."""
    if method.streams:
        of_one = {"name": CONVERSATION_HEADER, "present_match": True}
        route = _method_route(method, affine(model), settings, *headers, of_one)
        route["route"]["hash_policy"] = [{"header": {"header_name": CONVERSATION_HEADER}}]
        yield route
    yield _method_route(method, pool(model), settings, *headers)


def _method_route(method: Method, cluster: str, settings: EdgeSettings, *headers: Tree) -> Tree:
    route: Tree = {
        "name": method.path,
        "match": {"path": method.path, "headers": [GRPC, *headers]},
        "route": _action(method, cluster, settings),
    }
    if _is_openai(method):
        route["typed_per_filter_config"] = {STATUSES: openai_errors()}
    elif method.speaks_http:
        route["typed_per_filter_config"] = {STATUSES: asked_status()}
    if method.needs_token:
        return route
    return {**route, "typed_per_filter_config": {**_without_checks(), FLOOD_LIMIT: limited(settings)}}


def _is_openai(method: Method) -> bool:
    return any(binding.template.startswith(OPENAI_PREFIX) for binding in method.bindings)


def _action(method: Method, cluster: str, settings: EdgeSettings) -> Tree:
    return {
        "cluster": cluster,
        "timeout": "0s" if method.streams else seconds(settings.unary_timeout_seconds),
        "idle_timeout": seconds(settings.idle_timeout_seconds),
        "retry_policy": _retry_policy(method),
    }


def _retry_policy(method: Method) -> Tree:
    """Sends a call to another replica where that can do no harm."""
    return {
        "retry_on": RETRY_IDEMPOTENT if method.idempotent and not method.streams else RETRY_UNSENT,
        "num_retries": 2,
        "retry_host_predicate": [
            {
                "name": "envoy.retry_host_predicates.previous_hosts",
                "typed_config": typed("envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate"),
            }
        ],
        "host_selection_retry_max_attempts": 3,
        "retry_back_off": {"base_interval": "0.025s", "max_interval": "0.25s"},
    }


def _unknown(prefix: str, *, headers: Sequence[Tree] = (), per_filter: Tree | None = None) -> Tree:
    """Answers that there is no such method.

    A route to the cluster that a header names, which nobody can send: the CORS
    filter passes over Envoy's direct responses, and a page could not read the
    refusal, nor anything that the transcoder makes of the call.
    """
    return {
        "name": f"unknown {prefix}",
        "match": {"prefix": prefix, "headers": list(headers)},
        "route": {"cluster_header": NOWHERE, "cluster_not_found_response_code": "NOT_FOUND"},
        "typed_per_filter_config": {**_without_checks(), **(per_filter or {})},
    }


def _page() -> Tree:
    """The web page. It needs no token: it logs in through the API like any other caller."""
    return {
        "name": "page",
        "match": {"prefix": "/"},
        "route": {"cluster": WEB, "timeout": "0s", "upgrade_configs": [{"upgrade_type": "websocket"}]},
        "typed_per_filter_config": _without_checks(),
    }


def _without_checks() -> Tree:
    """Opts a route out of the key exchange and the token check."""
    return {
        KEY_EXCHANGE: typed(f"{HTTP_FILTERS}.ext_authz.v3.ExtAuthzPerRoute", disabled=True),
        JWT_CHECK: typed(f"{HTTP_FILTERS}.jwt_authn.v3.PerRouteConfig", disabled=True),
    }


def _cors_policy(scope: Scope) -> Tree:
    origins = scope.settings.origins
    verbs = {binding.verb for method in scope.contract.methods for binding in method.bindings}
    return typed(
        f"{HTTP_FILTERS}.cors.v3.CorsPolicy",
        allow_origin_string_match=[{"exact": origin, "ignore_case": True} for origin in origins],
        allow_methods=",".join(sorted({"OPTIONS", "POST", *verbs})),
        allow_headers=",".join(CORS_REQUEST_HEADERS),
        expose_headers=",".join(CORS_RESPONSE_HEADERS),
        max_age="600",
    )
