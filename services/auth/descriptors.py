"""The services of the whole platform, for reflection at the edge.

Importing the stubs puts their descriptors into the pool that reflection reads.
"""

from __future__ import annotations

from parley.auth.v1 import key_service_pb2, session_service_pb2
from parley.inference.v1 import inference_service_pb2
from parley.tools.v1 import tool_service_pb2

CONTRACTS = (key_service_pb2, session_service_pb2, inference_service_pb2, tool_service_pb2)


def platform_services() -> list[str]:
    """Full names of all services that callers of the edge can reach."""
    return sorted(
        service.full_name
        for contract in CONTRACTS
        for service in contract.DESCRIPTOR.services_by_name.values()
    )
