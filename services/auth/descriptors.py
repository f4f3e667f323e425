"""The services of the whole platform, for reflection at the edge.

Importing the stubs puts their descriptors into the pool that reflection reads.
"""

from __future__ import annotations

from importlib import import_module
from pkgutil import iter_modules
from types import ModuleType

import parley.auth.v1
import parley.inference.v1
import parley.tools.v1
from services.rpc.policies import access_table

PACKAGES: tuple[ModuleType, ...] = (parley.auth.v1, parley.inference.v1, parley.tools.v1)
SERVICE_SUFFIX = "_service_pb2"

CONTRACTS = tuple(
    import_module(f"{package.__name__}.{module.name}")
    for package in PACKAGES
    for module in iter_modules(package.__path__)
    if module.name.endswith(SERVICE_SUFFIX)
)


def platform_services() -> list[str]:
    """Full names of all services that callers of the edge can reach."""
    names = [name for contract in CONTRACTS for name in _service_names(contract)]
    return sorted(name for name in names if _at_the_edge(name))


def _service_names(contract: ModuleType) -> list[str]:
    return [service.full_name for service in contract.DESCRIPTOR.services_by_name.values()]


def _at_the_edge(service: str) -> bool:
    return any("edge" in access.peers for access in access_table([service]).values())
