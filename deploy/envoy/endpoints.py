"""The replicas of each pool, in files that Envoy watches (EDS), so that they change while it runs.

Only pools of addresses: host names are looked up again as they change, and have no file.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from deploy.envoy.files import replace, serialized
from deploy.envoy.settings import UNIX, endpoint, is_ip
from deploy.envoy.tree import Tree, address_of, typed

FOLDER = "endpoints"


def pool(model: str) -> str:
    """The cluster of a model's pool.

    Model names hold slashes and capitals, which statistics' names should not; the
    digest keeps two names apart that look alike after that.
    """
    word = "".join(letter if letter.isalnum() else "-" for letter in model.lower())
    return f"inference-{word}-{hashlib.sha256(model.encode()).hexdigest()[:8]}"


def is_fixed(addresses: Sequence[str]) -> bool:
    """Whether these need no look-up."""
    return all(address.startswith(UNIX) or is_ip(endpoint(address).host) for address in addresses)


@dataclass(frozen=True)
class EndpointFiles:
    """Where the files lie.

    Attributes:
        folder: The folder of all of them, beside the configuration.
    """

    folder: Path

    @classmethod
    def beside(cls, configuration: Path) -> EndpointFiles:
        """Those of a configuration."""
        return cls(configuration.absolute().with_name(FOLDER))

    def path(self, model: str) -> Path:
        """The file of a model's pool."""
        return self.folder / f"{pool(model)}.yaml"

    def write(self, model: str, addresses: Sequence[str]) -> None:
        """Have these replicas get the pool's calls. A running Envoy follows within moments.

        Raises:
            OSError: The file cannot be written.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        resource = typed(
            "envoy.config.endpoint.v3.ClusterLoadAssignment", **assignment(pool(model), addresses)
        )
        path = self.path(model)
        replace(path, serialized({"resources": [resource]}, path))

    def write_all(self, models: Mapping[str, Sequence[str]]) -> None:
        """Write the file of every pool that has one.

        Raises:
            OSError: A file cannot be written.
        """
        for model, addresses in models.items():
            if is_fixed(addresses):
                self.write(model, addresses)

    def followed(self, model: str) -> Tree:
        """What makes a cluster follow the file of a model's pool.

        A replica that is taken out gets no more calls at once, though it be healthy; its streams go on.
        """
        source = {"path": str(self.path(model)), "watched_directory": {"path": str(self.folder)}}
        return {
            "type": "EDS",
            "eds_cluster_config": {
                "service_name": pool(model),
                "eds_config": {"resource_api_version": "V3", "path_config_source": source},
            },
            "ignore_health_on_host_removal": True,
        }


def assignment(name: str, addresses: Sequence[str]) -> Tree:
    """A cluster's endpoints (envoy.config.endpoint.v3.ClusterLoadAssignment)."""
    endpoints = [{"endpoint": {"address": address_of(address)}} for address in addresses]
    return {"cluster_name": name, "endpoints": [{"lb_endpoints": endpoints}]}
