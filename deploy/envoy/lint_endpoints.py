"""Finds faults in the files behind EDS, which Envoy reads only when it runs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import yaml

from deploy.envoy.tree import Tree


def endpoint_faults(cluster: Tree) -> Iterator[str]:
    """What is wrong with the file that a cluster has its replicas from."""
    config = cluster["eds_cluster_config"]
    source = config.get("eds_config", {}).get("path_config_source", {})
    path = Path(source.get("path", ""))
    if not source.get("watched_directory"):
        yield "its EDS file is not watched"
    if not cluster.get("ignore_health_on_host_removal"):
        yield "a replica that is taken out gets calls as long as it is healthy"
    try:
        resources = yaml.load(path.read_text(), Loader=yaml.CSafeLoader)["resources"]
    except (OSError, yaml.YAMLError, KeyError, TypeError) as error:
        yield f"its EDS file {path} cannot be read: {error}"
        return
    names = [resource.get("cluster_name") for resource in resources]
    if names != [config.get("service_name")]:
        yield f"{path} must hold one resource, named as the service; it holds {names}"
