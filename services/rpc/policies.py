"""The access rule of every method, read from its descriptor."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from google.protobuf import descriptor_pool
from google.protobuf.descriptor import MethodDescriptor

from parley.policy.v1 import policy_pb2

EDGE_ALONE = frozenset({"edge"})
EVERYONE = frozenset({"edge", "inference", "tools", "auth", "web", "operator"})


class PolicyMissing(Exception):
    """A method declares no access rule; its service must not start."""


@dataclass(frozen=True)
class Access:
    """Who may call a method.

    Attributes:
        peers: Names of the mTLS identities that may open the connection.
        needs_token: Whether the caller must show a token.
        permission: What the token must permit; empty where any token will do.
    """

    peers: frozenset[str]
    needs_token: bool
    permission: str = ""


# Protocols that are not ours carry no option, so their rules stand here. Envoy
# asks for its decisions and tells of its own itself; anyone of the mesh may look at health; what
# services exist is told to whoever may log in.
FOREIGN: Mapping[str, Access] = {
    "envoy.service.auth.v3.Authorization": Access(EDGE_ALONE, needs_token=False),
    "envoy.service.accesslog.v3.AccessLogService": Access(EDGE_ALONE, needs_token=False),
    "grpc.health.v1.Health": Access(EVERYONE, needs_token=False),
    "grpc.reflection.v1alpha.ServerReflection": Access(EDGE_ALONE | {"operator"}, needs_token=True),
    "grpc.reflection.v1.ServerReflection": Access(EDGE_ALONE | {"operator"}, needs_token=True),
}


def access_table(services: Iterable[str]) -> dict[str, Access]:
    """The rules of all methods of these services, by `/package.Service/Method`.

    Raises:
        PolicyMissing: A method declares none.
    """
    pool = descriptor_pool.Default()
    table = {}
    for service in services:
        for method in pool.FindServiceByName(service).methods:
            table[f"/{service}/{method.name}"] = FOREIGN.get(service) or _declared(method)
    return table


def _declared(method: MethodDescriptor) -> Access:
    """The rule in a method's option."""
    options = method.GetOptions()
    if not options.HasExtension(policy_pb2.method):
        raise PolicyMissing(f"{method.full_name} declares no (parley.policy.v1.method)")
    policy = options.Extensions[policy_pb2.method]
    if policy.WhichOneof("access") is None:
        raise PolicyMissing(f"{method.full_name} declares no permission, and not that it needs none")
    names = (policy_pb2.Peer.Name(peer).removeprefix("PEER_").lower() for peer in policy.peers)
    return Access(frozenset(names) or EDGE_ALONE, not policy.anonymous, policy.permission)
