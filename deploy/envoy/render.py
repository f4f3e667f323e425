"""Renders Envoy's configuration from the settings and the contracts.

Usage: python -m deploy.envoy.render --output FILE

FILE is YAML, or JSON where its name ends so. Beside it appear the files that it
refers to: the transcoder's descriptor set, one SDS file per certificate in a
folder `sds`, and the replicas of each pool in a folder `endpoints`. Settings
come from `PARLEY_EDGE_*`. What was written is linted; a fault is told and makes
the exit status 1.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from deploy.envoy.clusters import clusters
from deploy.envoy.contract import Contract, load_contract
from deploy.envoy.endpoints import EndpointFiles
from deploy.envoy.files import replace, serialized
from deploy.envoy.filters import Scope
from deploy.envoy.lint import lint_file
from deploy.envoy.listener import jwks_listener, public_listener
from deploy.envoy.settings import EdgeSettings
from deploy.envoy.tls import SecretFiles, secrets
from deploy.envoy.tree import Tree, address_of, typed
from services.rpc.settings import SettingsError, load


def main(arguments: list[str] | None = None) -> int:
    """Run the command line and return its exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--output", type=Path, required=True, help="where to write the configuration")
    options = parser.parse_args(arguments)
    try:
        write(load(EdgeSettings), load_contract(), options.output)
    except (SettingsError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    faults = lint_file(options.output)
    for fault in faults:
        print(fault, file=sys.stderr)
    return 1 if faults else 0


def write(settings: EdgeSettings, contract: Contract, output: Path) -> None:
    """Write the configuration and what it refers to, each file in one step.

    Raises:
        OSError: A file cannot be written.
    """
    output = output.absolute()
    files, endpoints = SecretFiles(output.parent / "sds"), EndpointFiles.beside(output)
    descriptors = output.with_name(f"{output.stem}.descriptors.binpb")
    files.folder.mkdir(parents=True, exist_ok=True)
    replace(descriptors, contract.descriptor_set)
    for name, content in secrets(settings).items():
        replace(files.path(name), serialized(content, files.path(name)))
    endpoints.write_all(settings.models)
    tree = bootstrap(Scope(settings, contract, descriptors), files, endpoints)
    replace(output, serialized(tree, output))


def bootstrap(scope: Scope, files: SecretFiles, endpoints: EndpointFiles) -> Tree:
    """The whole configuration (envoy.config.bootstrap.v3.Bootstrap)."""
    settings = scope.settings
    tree: Tree = {
        "node": {"id": "edge", "cluster": "parley"},
        "overload_manager": _overload_manager(settings),
        "static_resources": {
            "listeners": [public_listener(scope, files), jwks_listener(scope)],
            "clusters": clusters(settings, files, endpoints),
        },
    }
    if settings.admin_address:
        tree["admin"] = {"address": address_of(settings.admin_address)}
    return tree


def _overload_manager(settings: EdgeSettings) -> Tree:
    """Refuses connections beyond the limit instead of running out of file handles."""
    name = "envoy.resource_monitors.global_downstream_max_connections"
    message = "envoy.extensions.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig"
    config = typed(message, max_active_downstream_connections=settings.max_connections)
    return {"resource_monitors": [{"name": name, "typed_config": config}]}


if __name__ == "__main__":
    sys.exit(main())
