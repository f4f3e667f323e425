"""Finds what `envoy --mode validate` misses in a configuration.

Usage: python -m deploy.envoy.lint FILE

Prints a line per fault and exits 1 where there is one.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from deploy.envoy.clusters import JWKS
from deploy.envoy.contract import Contract, Method, load_contract
from deploy.envoy.filters import CORS, JWT_CHECK, KEY_EXCHANGE, STRIPPED_HEADERS, STRIPPED_PREFIXES
from deploy.envoy.lint_endpoints import endpoint_faults
from deploy.envoy.lint_secrets import secret_faults
from deploy.envoy.tracing import COLLECTOR
from deploy.envoy.tree import Tree

# envoy.config.route.v3.RetryPolicy.retry_on, for HTTP and for gRPC.
RETRY_CONDITIONS = {
    "5xx",
    "cancelled",
    "connect-failure",
    "deadline-exceeded",
    "envoy-ratelimited",
    "gateway-error",
    "http3-post-connect-failure",
    "internal",
    "refused-stream",
    "reset",
    "reset-before-request",
    "resource-exhausted",
    "retriable-4xx",
    "retriable-headers",
    "retriable-status-codes",
    "unavailable",
}
SECRET_HEADERS = ("authorization", "cookie", "x-api-key", "x-parley-key")
# What auth says of a key holds the token that stands for it.
SECRET_METADATA = f"DYNAMIC_METADATA({KEY_EXCHANGE}".upper()
PATHS_WITH_QUERY = ("%REQ(:PATH)", "%REQ(X-ENVOY-ORIGINAL-PATH", "%PATH(WQ", "%PATH(ORIG")


@dataclass(frozen=True)
class Fault:
    """Something that is wrong.

    Attributes:
        where: The part of the configuration.
        what: What is wrong with it.
    """

    where: str
    what: str

    def __str__(self) -> str:
        """One line."""
        return f"{self.where}: {self.what}"


def main(arguments: list[str] | None = None) -> int:
    """Run the command line and return its exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("file", type=Path, help="the rendered configuration")
    options = parser.parse_args(arguments)
    faults = lint_file(options.file)
    for fault in faults:
        print(fault, file=sys.stderr)
    return 1 if faults else 0


def lint_file(path: Path) -> list[Fault]:
    """The faults of a rendered configuration.

    Raises:
        OSError: The file cannot be read.
    """
    return lint(yaml.load(path.read_text(), Loader=yaml.CSafeLoader), load_contract())


def lint(tree: Tree, contract: Contract) -> list[Fault]:
    """The faults of a configuration, in the order of the checks."""
    checks: tuple[Callable[[Tree, Contract], Iterator[Fault]], ...] = (
        _clusters_exist,
        _secrets_are_there,
        _endpoints_are_there,
        _retries_are_known,
        _upstreams_are_mutual,
        _limits_are_raised,
        _streams_have_time,
        _methods_have_routes,
        _only_anonymous_methods_are_open,
        _identity_is_stripped,
        _filters_guard,
        _words_are_proven,
        _logs_keep_secrets,
    )
    return [fault for check in checks for fault in check(tree, contract)]


def _clusters_exist(tree: Tree, _contract: Contract) -> Iterator[Fault]:
    """Envoy looks clusters of filters up only when it needs them."""
    known = {cluster["name"] for cluster in _clusters(tree)}
    for node in _walk(tree["static_resources"].get("listeners", [])):
        for key in ("cluster", "cluster_name"):
            name = node.get(key)
            is_format = isinstance(name, str) and "%" in name
            if isinstance(name, str) and not is_format and name not in known:
                yield Fault(f"{key} {name}", "there is no such cluster")


def _secrets_are_there(tree: Tree, _contract: Contract) -> Iterator[Fault]:
    for node in _walk(tree):
        if "sds_config" in node:
            for what in secret_faults(node):
                yield Fault(f"secret {node.get('name')}", what)


def _endpoints_are_there(tree: Tree, _contract: Contract) -> Iterator[Fault]:
    for cluster in _clusters(tree):
        if cluster.get("type") == "EDS":
            for what in endpoint_faults(cluster):
                yield Fault(f"cluster {cluster['name']}", what)


def _retries_are_known(tree: Tree, _contract: Contract) -> Iterator[Fault]:
    """Envoy ignores conditions that it does not know."""
    for route in _routes(tree):
        conditions = _action(route).get("retry_policy", {}).get("retry_on", "")
        for condition in filter(None, conditions.split(",")):
            if condition not in RETRY_CONDITIONS:
                yield Fault(_name(route), f"retry_on {condition} is no condition")


def _upstreams_are_mutual(tree: Tree, _contract: Contract) -> Iterator[Fault]:
    """Everything of the mesh but Envoy itself is reached over mutual TLS, and must be the one that is meant.

    The collector of traces is none of the mesh's.
    """
    for cluster in _clusters(tree):
        if cluster["name"] in (JWKS, COLLECTOR):
            continue
        grpc = "grpc_health_check" in str(cluster.get("health_checks"))
        where = f"cluster {cluster['name']}"
        tls = cluster.get("transport_socket", {}).get("typed_config", {})
        context = tls.get("common_tls_context", {})
        if grpc and "h2" not in context.get("alpn_protocols", []):
            yield Fault(where, "alpn_protocols lacks h2: gRPC servers refuse the connection")
        if not context.get("tls_certificate_sds_secret_configs"):
            yield Fault(where, "shows no certificate")
        validation = context.get("combined_validation_context", {}).get("default_validation_context", {})
        names = validation.get("match_typed_subject_alt_names", [])
        if len(names) != 1 or "exact" not in names[0].get("matcher", {}):
            yield Fault(
                where, "accepts any certificate of the mesh: match one exact subject alternative name"
            )
        if not tls.get("sni"):
            yield Fault(where, "sends no server name")


def _limits_are_raised(tree: Tree, _contract: Contract) -> Iterator[Fault]:
    """Envoy's defaults cut in at 1,024 calls."""
    for cluster in _clusters(tree):
        thresholds = cluster.get("circuit_breakers", {}).get("thresholds", [])
        if "health_checks" in cluster and not any("max_requests" in limit for limit in thresholds):
            yield Fault(f"cluster {cluster['name']}", "keeps the default of 1,024 calls")


def _streams_have_time(tree: Tree, contract: Contract) -> Iterator[Fault]:
    """Without `timeout: 0s` Envoy ends every stream after 15 s."""
    streams = {method.path for method in contract.methods if method.streams}
    for route in _routes(tree):
        timeout = _action(route).get("timeout")
        if (_path(route) in streams or _action(route).get("upgrade_configs")) and timeout != "0s":
            yield Fault(_name(route), f"is a stream with timeout {timeout}, not 0s")


def _methods_have_routes(tree: Tree, contract: Contract) -> Iterator[Fault]:
    for manager in _managers(tree):
        routed = {_path(route) for route in _routes_of(manager)}
        for method in contract.methods:
            if method.path not in routed:
                yield Fault(method.path, "has no route")


def _only_anonymous_methods_are_open(tree: Tree, contract: Contract) -> Iterator[Fault]:
    """A route without the token check leads to nothing that needs a token."""
    methods: dict[str, Method] = {method.path: method for method in contract.methods}
    services = {cluster["name"] for cluster in _clusters(tree) if "health_checks" in cluster}
    for route in _routes(tree, listener="public"):
        opted_out = route.get("typed_per_filter_config", {}).get(JWT_CHECK, {}).get("disabled")
        method = methods.get(_path(route))
        to_service = _action(route).get("cluster") in services
        if opted_out and to_service and (method is None or method.needs_token):
            yield Fault(_name(route), "reaches a service without a token")


def _identity_is_stripped(tree: Tree, _contract: Contract) -> Iterator[Fault]:
    """Services believe these headers, so callers must not get any through."""
    for manager in _managers(tree):
        yield from _not_stripped(manager)


def _not_stripped(manager: Tree) -> Iterator[Fault]:
    mutations = [
        mutation
        for extension in manager.get("early_header_mutation_extensions", [])
        for mutation in extension["typed_config"].get("mutations", [])
    ]
    removed = {mutation.get("remove") for mutation in mutations}
    prefixes = {
        mutation.get("remove_on_match", {}).get("key_matcher", {}).get("prefix") for mutation in mutations
    }
    for header in STRIPPED_HEADERS:
        if header not in removed:
            yield Fault("listener public", f"lets {header} of callers through")
    for prefix in STRIPPED_PREFIXES:
        if prefix not in prefixes:
            yield Fault("listener public", f"lets {prefix}* of callers through")


def _filters_guard(tree: Tree, _contract: Contract) -> Iterator[Fault]:
    """The filters that refuse stand where they must and fail closed."""
    for manager in _managers(tree):
        yield from _not_guarded(manager)


def _not_guarded(manager: Tree) -> Iterator[Fault]:
    filters = {item["name"]: item["typed_config"] for item in manager.get("http_filters", [])}
    order = list(filters)
    gate = "envoy.filters.http.rbac"
    if gate not in order or order.index(gate) > order.index(CORS):
        yield Fault("http_filters", "pages of foreign origins are not refused before CORS")
    if filters.get(KEY_EXCHANGE, {}).get("failure_mode_allow", False):
        yield Fault(KEY_EXCHANGE, "lets requests pass when auth does not answer")
    if JWT_CHECK not in order:
        yield Fault("http_filters", "nobody checks tokens")
        return
    if order[-2:] != [JWT_CHECK, "envoy.filters.http.router"]:
        yield Fault(JWT_CHECK, "is not the last filter before the router")
    for name, provider in filters[JWT_CHECK].get("providers", {}).items():
        if not provider.get("from_headers") or provider.get("from_params"):
            yield Fault(f"provider {name}", "takes tokens from the query, where logs keep them")


def _words_are_proven(tree: Tree, _contract: Contract) -> Iterator[Fault]:
    """A chain beside the public one believes what its caller says of people, so it proves who that is."""
    for chain in _chains(tree):
        if "filter_chain_match" not in chain:
            continue
        tls = chain.get("transport_socket", {}).get("typed_config", {})
        context = tls.get("common_tls_context", {}).get("combined_validation_context", {})
        names = context.get("default_validation_context", {}).get("match_typed_subject_alt_names", [])
        if not tls.get("require_client_certificate") or len(names) != 1 or "exact" not in names[0]["matcher"]:
            yield Fault("listener public", "believes a caller whose certificate it does not demand")


def _logs_keep_secrets(tree: Tree, _contract: Contract) -> Iterator[Fault]:
    for log in (log for manager in _managers(tree) for log in manager.get("access_log", [])):
        for text in _texts(log):
            upper = text.upper()
            if SECRET_METADATA in upper or any(f"({header.upper()}" in upper for header in SECRET_HEADERS):
                yield Fault("access_log", f"{text} holds credentials")
            if any(path in upper for path in PATHS_WITH_QUERY):
                yield Fault("access_log", f"{text} keeps the query, which may hold a token")


def _walk(node: Any) -> Iterator[Tree]:
    """Every object in a part of the configuration."""
    if isinstance(node, dict):
        yield node
        for value in node.values():
            yield from _walk(value)
    elif isinstance(node, list):
        for value in node:
            yield from _walk(value)


def _texts(node: Any) -> Iterator[str]:
    """Every text in a part of the configuration."""
    if isinstance(node, str):
        yield node
    for value in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        yield from _texts(value)


def _clusters(tree: Tree) -> list[Tree]:
    clusters: list[Tree] = tree["static_resources"].get("clusters", [])
    return clusters


def _chains(tree: Tree, listener: str = "public") -> list[Tree]:
    """The filter chains of a listener."""
    listeners = tree["static_resources"].get("listeners", [])
    return [chain for found in listeners if found.get("name") == listener for chain in found["filter_chains"]]


def _managers(tree: Tree, listener: str = "public") -> list[Tree]:
    """The HTTP connection managers of a listener, one for each filter chain."""
    return [chain["filters"][0]["typed_config"] for chain in _chains(tree, listener)]


def _routes(tree: Tree, listener: str = "public") -> Iterator[Tree]:
    for manager in _managers(tree, listener):
        yield from _routes_of(manager)


def _routes_of(manager: Tree) -> Iterator[Tree]:
    for host in manager.get("route_config", {}).get("virtual_hosts", []):
        yield from host.get("routes", [])


def _action(route: Tree) -> Tree:
    action: Tree = route.get("route", {})
    return action


def _path(route: Tree) -> str:
    return str(route["match"].get("path", ""))


def _name(route: Tree) -> str:
    return f"route {route.get('name', route['match'])}"


if __name__ == "__main__":
    sys.exit(main())
