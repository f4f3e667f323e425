"""The filters that each request passes, in one named order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from deploy.envoy.clusters import JWKS
from deploy.envoy.contract import Contract
from deploy.envoy.endpoints import pool
from deploy.envoy.flood import flood_limit
from deploy.envoy.openai import body_model
from deploy.envoy.settings import EdgeSettings
from deploy.envoy.tree import Tree, extension, seconds, typed

HTTP_FILTERS = "envoy.extensions.filters.http"
CREDENTIALS = Path(__file__).with_name("credentials.lua")
ANSWERED_STATUS = Path(__file__).with_name("statuses.lua")

TRANSCODER = "envoy.filters.http.grpc_json_transcoder"
CORS = "envoy.filters.http.cors"
MEASURE = "envoy.filters.http.buffer"
STATUSES = "envoy.filters.http.lua.statuses"
KEY_EXCHANGE = "envoy.filters.http.ext_authz"
JWT_CHECK = "envoy.filters.http.jwt_authn"

ORIGIN_POLICY = "origin"
SIZE_POLICY = "size"

KEY_HEADER = "x-parley-key"
ADDRESS_HEADER = "x-parley-client-address"
# What the key exchange is shown. The address that Envoy tells by itself is that of the connection, which
# may be a proxy's or the page's.
SHOWN_HEADERS = (KEY_HEADER, "x-request-id", ADDRESS_HEADER)
PROVIDER = "parley"
JWKS_METHOD = "parley.auth.v1.SessionService.GetJwks"

# Headers that say who the caller is or how Envoy shall treat the call. No
# caller may send them; header names have one casing by the time they are read.
STRIPPED_PREFIXES = ("x-parley-", "x-envoy-")
STRIPPED_HEADERS = ("x-forwarded-client-cert", "x-request-id")


@dataclass(frozen=True)
class Scope:
    """What filters are made from.

    Attributes:
        settings: What the edge is told.
        contract: The contracts.
        descriptors: Where the transcoder reads the descriptor set.
    """

    settings: EdgeSettings
    contract: Contract
    descriptors: Path


def http_filters(scope: Scope) -> list[Tree]:
    """The chain, each filter with the reason it stands where it does."""
    settings = scope.settings
    return [
        *probes(settings),  # first: a probe carries no origin and no credentials
        gate(
            settings
        ),  # before CORS, which only keeps a foreign page from reading; this keeps it from acting
        cors(),  # before anything that refuses, so that the page may read the refusal
        grpc_web(),  # before the transcoder, which leaves gRPC alone
        bodies(settings),  # before the transcoder, which measures nothing
        credentials(),  # before the checks that it sorts requests for
        statuses(),  # before the transcoder, whose answers it mends on their way out
        body_model(),  # before the transcoder, which has the route chosen anew
        transcoder(scope),  # before the checks: from here on every call is gRPC, with one path
        flood_limit(),  # guards the routes without checks; by now JSON calls have their method's route
        client_address(),  # before the key exchange, which is shown it
        key_exchange(settings),  # before the token check, which then also checks what the exchange gave
        token_check(scope),  # last: whatever went wrong before, without a good token nothing passes
        router(),
    ]


def jwks_filters(scope: Scope) -> list[Tree]:
    """The chain of the listener that serves the signing keys to Envoy itself."""
    return [transcoder(scope), router()]


def strip_identity(trusted_hops: int, more: Sequence[str] = ()) -> list[Tree]:
    """Takes identity headers, and more, off before anything reads them, the connection manager included."""
    headers = [*STRIPPED_HEADERS, *(["x-forwarded-for"] if trusted_hops == 0 else []), *more]
    prefixes = [
        {"remove_on_match": {"key_matcher": {"prefix": prefix, "ignore_case": True}}}
        for prefix in STRIPPED_PREFIXES
    ]
    return [
        extension(
            "envoy.http.early_header_mutation.header_mutation",
            "envoy.extensions.http.early_header_mutation.header_mutation.v3.HeaderMutation",
            mutations=[*prefixes, *({"remove": header} for header in headers)],
        )
    ]


def probes(settings: EdgeSettings) -> list[Tree]:
    """Answers by itself whether a chat can be answered (/healthz), and whether to call this edge (/readyz).

    Both turn to 503 when it drains. What stands behind it decides the first alone: an edge that reaches
    nobody still tells that, with a reason, to whoever calls.
    """
    needed = ("auth", "tools", pool(settings.default_pool))
    return [_probe("/healthz", {name: {"value": 1} for name in needed}), _probe("/readyz", {})]


def _probe(path: str, needed: Tree) -> Tree:
    return extension(
        f"envoy.filters.http.health_check{path.replace('/', '.')}",
        f"{HTTP_FILTERS}.health_check.v3.HealthCheck",
        pass_through_mode=False,
        headers=[{"name": ":path", "string_match": {"exact": path}}],
        cluster_min_healthy_percentages=needed,
    )


def gate(settings: EdgeSettings) -> Tree:
    """Refuses pages of origins that are not on the list, and bodies that say they are too large.

    Programs send no Origin.
    """
    policies = {ORIGIN_POLICY: _foreign_page(settings), SIZE_POLICY: _too_large(settings)}
    return extension(
        "envoy.filters.http.rbac",
        f"{HTTP_FILTERS}.rbac.v3.RBAC",
        rules={"action": "DENY", "policies": policies},
    )


def _foreign_page(settings: EdgeSettings) -> Tree:
    present = {"header": {"name": "origin", "present_match": True}}
    listed = [
        {"header": {"name": "origin", "string_match": {"exact": origin, "ignore_case": True}}}
        for origin in settings.origins
    ]
    foreign = {"and_ids": {"ids": [present, {"not_id": {"or_ids": {"ids": listed}}}]}}
    return {"permissions": [{"any": True}], "principals": [foreign]}


def _too_large(settings: EdgeSettings) -> Tree:
    # `end` is the first size outside the range; int64 has no larger one to name.
    sizes = {"start": settings.max_body_bytes + 1, "end": 2**63 - 1}
    declared = {"header": {"name": "content-length", "range_match": sizes}}
    return {"permissions": [{"any": True}], "principals": [declared]}


def cors() -> Tree:
    """Lets pages read answers; whose pages, the virtual host says."""
    return extension(CORS, f"{HTTP_FILTERS}.cors.v3.Cors")


def grpc_web() -> Tree:
    """Turns gRPC-Web into gRPC."""
    return extension("envoy.filters.http.grpc_web", f"{HTTP_FILTERS}.grpc_web.v3.GrpcWeb")


def bodies(settings: EdgeSettings) -> Tree:
    """Measures request bodies that do not say their size, on the routes that ask for it."""
    return extension(
        MEASURE,
        f"{HTTP_FILTERS}.buffer.v3.Buffer",
        max_request_bytes=settings.max_body_bytes,
    )


def credentials() -> Tree:
    """Sorts requests by what they identify the caller with."""
    return extension(
        "envoy.filters.http.lua",
        f"{HTTP_FILTERS}.lua.v3.Lua",
        default_source_code={"inline_string": CREDENTIALS.read_text()},
    )


def statuses() -> Tree:
    """Gives answers the HTTP status that their service asks for, on the routes that say so."""
    return extension(STATUSES, f"{HTTP_FILTERS}.lua.v3.Lua")


def asked_status() -> Tree:
    """Has a route do so."""
    code = {"inline_string": ANSWERED_STATUS.read_text()}
    return typed(f"{HTTP_FILTERS}.lua.v3.LuaPerRoute", source_code=code)


def transcoder(scope: Scope) -> Tree:
    """Turns JSON into gRPC by the contracts' google.api.http options."""
    return {"name": TRANSCODER, "typed_config": _transcoder(scope, "stream_newline_delimited")}


def event_stream_transcoder(scope: Scope) -> Tree:
    """The same for a route whose caller accepts server-sent events."""
    return _transcoder(scope, "stream_sse_style_delimited")


def _transcoder(scope: Scope, stream_option: str) -> Tree:
    return typed(
        f"{HTTP_FILTERS}.grpc_json_transcoder.v3.GrpcJsonTranscoder",
        proto_descriptor=str(scope.descriptors),
        services=scope.contract.transcoded_services,
        convert_grpc_status=True,
        max_request_body_size=scope.settings.max_body_bytes,
        max_response_body_size=scope.settings.max_body_bytes,
        request_validation_options={
            "reject_unknown_query_parameters": True,
            "reject_binding_body_field_collisions": True,
        },
        print_options={stream_option: True},
    )


def client_address() -> Tree:
    """Tells whom the call goes to where it comes from."""
    stated = {"key": ADDRESS_HEADER, "value": "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%"}
    append = {"header": stated, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}
    return extension(
        "envoy.filters.http.header_mutation",
        f"{HTTP_FILTERS}.header_mutation.v3.HeaderMutation",
        mutations={"request_mutations": [{"append": append}]},
    )


def key_exchange(settings: EdgeSettings) -> Tree:
    """Has auth exchange an API key for a token. Without an answer nobody passes."""
    carries_key = {
        "filter": "parley.edge",
        "path": [{"key": "carries_key"}],
        "value": {"bool_match": True},
    }
    return extension(
        KEY_EXCHANGE,
        f"{HTTP_FILTERS}.ext_authz.v3.ExtAuthz",
        transport_api_version="V3",
        grpc_service={
            "envoy_grpc": {"cluster_name": "auth"},
            "timeout": seconds(settings.key_check_seconds),
        },
        filter_enabled_metadata=carries_key,
        failure_mode_allow=False,
        status_on_error={"code": "ServiceUnavailable"},
        allowed_headers={"patterns": [{"exact": header} for header in SHOWN_HEADERS]},
        validate_mutations=True,
    )


def token_check(scope: Scope) -> Tree:
    """Demands a good token on every route that does not say otherwise."""
    return extension(
        JWT_CHECK,
        f"{HTTP_FILTERS}.jwt_authn.v3.JwtAuthentication",
        providers={PROVIDER: _provider(scope)},
        rules=[{"match": {"prefix": "/"}, "requires": {"provider_name": PROVIDER}}],
        bypass_cors_preflight=True,
    )


def _provider(scope: Scope) -> Tree:
    """Whose tokens are taken, and where the keys come from.

    The keys are fetched ahead of time and kept when auth is down, so that
    tokens in hand go on until they expire. The first fetch always fails: it is
    tried before Envoy's own listener is up.
    """
    settings = scope.settings
    path = scope.contract.method(JWKS_METHOD).bindings[0].template
    return {
        "issuer": settings.token_issuer,
        "audiences": [settings.token_audience],
        # Spelled out: by default a token in the query would do too, and be logged.
        "from_headers": [{"name": "authorization", "value_prefix": "Bearer "}],
        "forward": True,
        "require_expiration": True,
        "clock_skew_seconds": 1,
        "payload_in_metadata": "claims",
        "jwt_cache_config": {"jwt_cache_size": 1024},
        "remote_jwks": {
            "http_uri": {
                "uri": f"http://auth.{settings.trust_domain}{path}",
                "cluster": JWKS,
                "timeout": "2s",
            },
            "cache_duration": seconds(settings.jwks_cache_seconds),
            "async_fetch": {"fast_listener": True, "failed_refetch_duration": "0.1s"},
        },
    }


def router() -> Tree:
    """Sends the request on."""
    return extension(
        "envoy.filters.http.router", f"{HTTP_FILTERS}.router.v3.Router", suppress_envoy_headers=True
    )
