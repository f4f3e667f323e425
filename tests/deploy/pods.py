"""What a cluster makes of an overlay: pods, secrets, and the names of services.

As the parts of a cluster would: a deployment becomes its replicas, the certificates of cert-manager and the
entries of External Secrets become secrets, and a service becomes a name that its pods have. There is no
cluster: `node.py` plays the pods.
"""

from __future__ import annotations

import base64
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deploy.certificates import LOOPBACK, CertificateAuthority
from tests.deploy.manifests import Tree

SETTINGS = {f"{name.upper()}_URL": f"production-{name}-url" for name in ("database", "store", "cache")}
"""What a secret's entries end with, by the file of `deploy.credentials` that has it."""

SHARED_MEMORY = "/dev/shm"  # noqa: S108 - of a container
MOUNTED = "/run/secrets/parley/store-authority.pem"
"""Where the overlay says that the store's authority lies (base/secrets.yaml)."""


@dataclass(frozen=True)
class Pod:
    """One pod.

    Attributes:
        name: Its own.
        workload: The name of what made it.
        services: The names that it has beside the other pods of its services.
        manifest: What a node is told.
    """

    name: str
    workload: str
    services: tuple[str, ...]
    manifest: Tree

    @property
    def spec(self) -> Tree:
        return dict(self.manifest["spec"])

    @property
    def container(self) -> Tree:
        (container,) = self.spec["containers"]
        return dict(container)

    @property
    def group(self) -> int:
        """Who owns what is mounted."""
        return int(self.spec["securityContext"]["fsGroup"])

    def port(self, name: str) -> int:
        return int(_port(self.container, name)["containerPort"])


def pods(manifests: list[Tree]) -> list[Pod]:
    """The pods of an overlay's deployments."""
    deployments = [each for each in manifests if each["kind"] == "Deployment"]
    services = [each for each in manifests if each["kind"] == "Service"]
    addresses = _addresses(services, [each["spec"]["template"] for each in deployments])
    return [
        _pod(deployment, number, services, addresses)
        for deployment in deployments
        for number in range(deployment["spec"]["replicas"])
    ]


def _addresses(services: list[Tree], templates: list[Tree]) -> dict[str, str]:
    """A service's address by that of the pods behind it: a name leads to pods, and has no ports."""
    found = {}
    for service in services:
        name = service["metadata"]["name"]
        template = next(each for each in templates if _selects(service, each))
        for port in service["spec"]["ports"]:
            reached = _port(template["spec"]["containers"][0], port["targetPort"])["containerPort"]
            found[f"{name}:{port['port']}"] = f"{name}:{reached}"
    return found


def _selects(service: Tree, template: Tree) -> bool:
    selector: Tree = service["spec"]["selector"]
    return selector.items() <= template["metadata"]["labels"].items()


def _port(container: Tree, name: str) -> Tree:
    return next(port for port in container["ports"] if port["name"] == name)


def _pod(deployment: Tree, number: int, services: list[Tree], addresses: dict[str, str]) -> Pod:
    workload = deployment["metadata"]["name"]
    name, template = f"{workload}-{number}", deepcopy(deployment["spec"]["template"])
    labels, spec = template["metadata"]["labels"], template["spec"]
    own = [each for each in services if _selects(each, template)]
    (container,) = spec["containers"]
    for entry in container["env"]:
        entry["value"] = addresses.get(entry["value"], entry["value"])
    # A node has one of each port; a balancer would have as many as it is asked for.
    if number == 0:
        for service in own:
            if service["spec"].get("type") == "LoadBalancer":
                for port in service["spec"]["ports"]:
                    _port(container, port["targetPort"])["hostPort"] = port["port"]
    _name_its_own(name, spec)
    manifest = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": labels},
        "spec": spec,
    }
    return Pod(name, workload, tuple(each["metadata"]["name"] for each in own), manifest)


def _name_its_own(pod: str, spec: Tree) -> None:
    """Folders of a pod's own, as Podman can give them.

    It calls one as the pod does, and would share it with all that call one so. In memory only the one that
    everybody may write to is anybody's but root's.
    """
    (container,) = spec["containers"]
    shared = {mount["name"] for mount in container["volumeMounts"] if mount["mountPath"] == SHARED_MEMORY}
    renamed = {}
    for volume in spec["volumes"]:
        if "emptyDir" in volume:
            if volume["name"] not in shared:
                volume["emptyDir"].pop("medium", None)
            renamed[volume["name"]] = volume["name"] = f"{pod}-{volume['name']}"
    for mount in container["volumeMounts"]:
        mount["name"] = renamed.get(mount["name"], mount["name"])


def secrets(manifests: list[Tree], made: Path) -> list[Tree]:
    """The secrets that cert-manager and External Secrets would make.

    Args:
        manifests: An overlay.
        made: The folder that `deploy.credentials` made.
    """
    found = []
    for manifest in manifests:
        spec = manifest.get("spec", {})
        if manifest["kind"] == "Certificate" and not spec.get("isCA"):
            found.append(_secret(spec["secretName"], _certificate(spec, made)))
        elif manifest["kind"] == "ExternalSecret":
            keys = [entry["secretKey"] for entry in spec["data"]]
            found.append(_secret(spec["target"]["name"], {key: _setting(key, made) for key in keys}))
    return found


def _certificate(spec: Tree, made: Path) -> dict[str, str]:
    """One of the mesh's authority. What people see has names of this machine, too, as they reach it here."""
    authority = CertificateAuthority.open(made / "mesh")
    identity = spec["uris"][0].rpartition("/")[2] if "uris" in spec else spec["secretName"]
    hosts = spec["dnsNames"] if "uris" in spec else [*spec["dnsNames"], *LOOPBACK]
    files = authority.issue(identity, hosts)
    return {
        "tls.crt": files.certificate.read_text(),
        "tls.key": files.private_key.read_text(),
        "ca.crt": files.authority.read_text(),
    }


def _setting(key: str, made: Path) -> str:
    if key.endswith("-authority.pem"):
        return (made / "authority.pem").read_text()
    file = next(file for end, file in SETTINGS.items() if key.endswith(end))
    return (made / file).read_text().replace("/run/secrets/authority.pem", MOUNTED)


def _secret(name: str, texts: dict[str, str]) -> dict[str, Any]:
    data = {key: base64.b64encode(text.encode()).decode() for key, text in texts.items()}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "data": data}
