"""What the contracts say that the edge must know, read from the descriptors."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from google.api import annotations_pb2, http_pb2
from google.protobuf import descriptor_pb2
from google.protobuf.descriptor import MethodDescriptor
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2

from parley.policy.v1 import policy_pb2
from services.rpc.policies import FOREIGN, PolicyMissing

DESCRIPTORS = Path(policy_pb2.__file__).parents[2] / "descriptors.binpb"
"""Beside the stubs, wherever those are installed."""

ROOT_PACKAGE = "parley."
HTTP_BODY = ".google.api.HttpBody"

# Protocols that are not ours, which auth answers for the whole platform. The two versions of reflection
# have the same methods.
_HEALTH = health_pb2.DESCRIPTOR.services_by_name["Health"]
_REFLECTION = reflection_pb2.DESCRIPTOR.services_by_name["ServerReflection"]
PASSED_ON = {
    "grpc.health.v1.Health": _HEALTH,
    "grpc.reflection.v1alpha.ServerReflection": _REFLECTION,
    "grpc.reflection.v1.ServerReflection": _REFLECTION,
}


@dataclass(frozen=True)
class HttpBinding:
    """One way to call a method as HTTP and JSON.

    Attributes:
        verb: HTTP method.
        template: Path template of google.api.http, for example `/api/v1/keys/{key_id}:revoke`.
    """

    verb: str
    template: str


@dataclass(frozen=True)
class Method:
    """A method that callers from outside may use.

    Attributes:
        service: Full name of its service.
        name: Its own name.
        server: The server that answers it: `auth`, `tools` or `inference`.
        needs_token: Whether the caller must show a token.
        streams: Whether the request or the answer is a stream.
        idempotent: Whether repeating it does no harm.
        bindings: How it is called as HTTP and JSON; empty where it cannot be.
        speaks_http: Whether its messages are HTTP bodies of a protocol of their own.
    """

    service: str
    name: str
    server: str
    needs_token: bool
    streams: bool
    idempotent: bool
    bindings: tuple[HttpBinding, ...]
    speaks_http: bool = False

    @property
    def path(self) -> str:
        """The path of a gRPC call."""
        return f"/{self.service}/{self.name}"


@dataclass(frozen=True)
class Contract:
    """The contracts as the edge sees them.

    Attributes:
        methods: Every method that the edge serves, sorted by path.
        descriptor_set: The serialized FileDescriptorSet for the transcoder.
    """

    methods: tuple[Method, ...]
    descriptor_set: bytes

    @property
    def transcoded_services(self) -> list[str]:
        """Full names of the services with a method that can be called as JSON, sorted."""
        return sorted({method.service for method in self.methods if method.bindings})

    def method(self, full_name: str) -> Method:
        """The method of this name, `package.Service.Method`.

        Raises:
            KeyError: The edge serves none.
        """
        for method in self.methods:
            if f"{method.service}.{method.name}" == full_name:
                return method
        raise KeyError(full_name)


@cache
def load_contract(path: Path = DESCRIPTORS) -> Contract:
    """Read the contracts from a descriptor set.

    Raises:
        OSError: The file cannot be read.
        PolicyMissing: A method declares no access rule.
    """
    files = descriptor_pb2.FileDescriptorSet.FromString(path.read_bytes())
    methods = sorted(_served_methods(files), key=lambda method: method.path)
    return Contract(tuple(methods), with_error_details(files).SerializeToString())


def with_error_details(files: descriptor_pb2.FileDescriptorSet) -> descriptor_pb2.FileDescriptorSet:
    """The set with google.rpc's error details, without which the transcoder leaves errors empty."""
    whole = descriptor_pb2.FileDescriptorSet()
    whole.CopyFrom(files)
    details = error_details_pb2.DESCRIPTOR
    if all(file.name != details.name for file in files.file):
        whole.file.add().ParseFromString(details.serialized_pb)
    return whole


def _served_methods(files: descriptor_pb2.FileDescriptorSet) -> Iterator[Method]:
    """The methods of our packages that the edge may call, and the foreign ones that it passes on."""
    for file in files.file:
        for service in file.service:
            if not file.package.startswith(ROOT_PACKAGE):
                continue
            for method in service.method:
                if _edge_may_call(method):
                    yield _served(file.package, service.name, method)
    for service_name, descriptor in PASSED_ON.items():
        for foreign in descriptor.methods:
            yield _foreign(service_name, foreign)


def _edge_may_call(method: descriptor_pb2.MethodDescriptorProto) -> bool:
    """Whether the access rule lets the edge open the connection; no list means the edge alone."""
    peers = method.options.Extensions[policy_pb2.method].peers
    return not peers or policy_pb2.PEER_EDGE in peers


def _served(package: str, service: str, method: descriptor_pb2.MethodDescriptorProto) -> Method:
    policy = method.options.Extensions[policy_pb2.method]
    if policy.WhichOneof("access") is None:
        raise PolicyMissing(f"{package}.{service}.{method.name} declares no (parley.policy.v1.method)")
    level = method.options.idempotency_level
    return Method(
        service=f"{package}.{service}",
        name=method.name,
        server=package.split(".")[1],
        needs_token=not policy.anonymous,
        streams=method.client_streaming or method.server_streaming,
        idempotent=level != descriptor_pb2.MethodOptions.IDEMPOTENCY_UNKNOWN,
        bindings=tuple(_bindings(method.options.Extensions[annotations_pb2.http])),
        speaks_http=method.input_type == method.output_type == HTTP_BODY,
    )


def _bindings(rule: http_pb2.HttpRule) -> Iterator[HttpBinding]:
    verb = rule.WhichOneof("pattern")
    if verb == "custom":
        yield HttpBinding(rule.custom.kind, rule.custom.path)
    elif verb is not None:
        yield HttpBinding(verb.upper(), getattr(rule, verb))
    for more in rule.additional_bindings:
        yield from _bindings(more)


def _foreign(service: str, method: MethodDescriptor) -> Method:
    return Method(
        service=service,
        name=method.name,
        server="auth",
        needs_token=FOREIGN[service].needs_token,
        streams=method.client_streaming or method.server_streaming,
        idempotent=True,
        bindings=(),
    )
