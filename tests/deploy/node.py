"""Podman as the node of a cluster: it plays pods, and does for them what a kubelet does and Podman does not.

That is: what is mounted belongs to the pod's group, probes on their schedule, and hooks before the end.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.deploy.composed import DOCKER, Composed, Variant
from tests.deploy.manifests import Tree
from tests.deploy.pods import Pod
from tests.deploy.reached import Reached

NODE = Variant(
    files=("compose.yaml", "../tests/deploy/node.yaml"),
    profiles=("production",),
    users={
        "store-production": "999:1000",
        "cache-production": "999:1000",
        "database": "999:999",
        "node": "",
    },
    auth="",
)
"""The node, and what stands outside of the cluster in production: the database and the stores."""

NETWORK = "pods"
HOST = "parley.example.com"
"""What the base's edge is called by those who call it."""

LOAD_SECONDS = 900
ENGINES_SECONDS = 5
"""Two engines stand between a probe and its command."""

PODMAN = ("podman", "--cgroup-manager", "cgroupfs", "--events-backend", "file")
"""As no systemd runs in the node."""
ASKED_OVER_HTTPS = (
    "import ssl, sys, urllib.request as r\n"
    "r.urlopen(sys.argv[1], context=ssl._create_unverified_context(), timeout=float(sys.argv[2]))"
)
"""As a kubelet asks, but from within: whoever's certificate it is, and any status below 400 is a yes."""


@dataclass
class Node(Reached):
    """The node and the pods it plays."""

    outside: Composed
    pods: list[Pod]
    model: str

    @property
    def folder(self) -> Path:
        return self.outside.folder

    @property
    def address(self) -> str:
        return self.outside.address

    @property
    def own(self) -> list[str]:
        """The first pod of each workload."""
        return [pod.name for pod in self.pods if pod.name.endswith("-0")]

    @property
    def auth(self) -> str:
        return "auth-0"

    @property
    def page(self) -> str:
        return f"https://{HOST}/"

    @property
    def browser_flags(self) -> tuple[str, ...]:
        return (f"--host-resolver-rules=MAP {HOST}:443 {self.address}",)

    def podman(self, *arguments: str, told: str | None = None, timeout_seconds: float = 120) -> str:
        """What Podman says to a command."""
        return self.outside.compose(
            "exec", "--no-TTY", "node", *PODMAN, *arguments, told=told, timeout_seconds=timeout_seconds
        )

    def inside(self, service: str, *command: str) -> str:
        return self.podman("exec", self._container(self.pod(service)), *command)

    def pod(self, name: str) -> Pod:
        return next(pod for pod in self.pods if pod.name == name)

    @staticmethod
    def _container(pod: Pod) -> str:
        return f"{pod.name}-{pod.container['name']}"

    def load_images(self) -> None:
        """Brings the pods' images from the engine that built them."""
        images = sorted({pod.container["image"] for pod in self.pods})
        save = subprocess.Popen([DOCKER, "save", *images], stdout=subprocess.PIPE)
        node = json.loads(self.outside.compose("ps", "--format", "json", "node"))["Name"]
        load = [DOCKER, "exec", "--interactive", node, *PODMAN, "load", "--quiet"]
        with save:
            subprocess.run(load, stdin=save.stdout, timeout=LOAD_SECONDS, check=True, capture_output=True)
        assert save.returncode == 0

    def take(self, secrets: list[Tree]) -> None:
        """Takes the secrets, and makes the network of the pods."""
        self.podman("network", "create", NETWORK)
        self.podman("kube", "play", "-", told=yaml.safe_dump_all(secrets))

    def start(self, pods: list[Pod]) -> None:
        """Starts pods, all at once."""
        for pod in pods:
            network = f"{NETWORK}:{','.join(f'alias={name}' for name in pod.services)}"
            told = yaml.safe_dump(pod.manifest)
            self.podman("kube", "play", "--start=false", "--network", network, "-", told=told)
            self._give_to_its_group(pod)
        self.podman("pod", "start", *(pod.name for pod in pods))

    def _give_to_its_group(self, pod: Pod) -> None:
        """Secrets are the group's (fsGroup). All else has the owner that the image gives its folder."""
        read_only = {
            mount["mountPath"] for mount in pod.container["volumeMounts"] if mount.get("readOnly", False)
        }
        for mount in self.described(pod)["Mounts"]:
            if mount["Destination"] in read_only:
                self.outside.inside("node", "chgrp", "--recursive", str(pod.group), mount["Source"])

    def described(self, pod: Pod) -> dict[str, Any]:
        """A pod's container as Podman describes it."""
        (container,) = json.loads(self.podman("container", "inspect", self._container(pod)))
        return dict(container)

    async def probed(self, pod: Pod, kind: str) -> None:
        """Asks one of a pod's probes, on its schedule, until it says yes."""
        probe = pod.container[kind]
        said = ""
        for _ in range(probe["failureThreshold"]):
            try:
                await asyncio.to_thread(self._probe, pod, probe)
            except (AssertionError, subprocess.TimeoutExpired) as error:
                said = str(error)
            else:
                return
            await asyncio.sleep(probe["periodSeconds"])
        raise AssertionError(
            f"{pod.name}, {kind}: {said}\n{self.podman('logs', '--tail', '20', self._container(pod))}"
        )

    def _probe(self, pod: Pod, probe: Tree) -> None:
        command = probe.get("exec", {}).get("command")
        if command is None:
            asked = probe["httpGet"]
            url = f"{asked['scheme'].lower()}://127.0.0.1:{pod.port(asked['port'])}{asked['path']}"
            command = ["python", "-c", ASKED_OVER_HTTPS, url, str(probe["timeoutSeconds"])]
        wait = probe["timeoutSeconds"] + ENGINES_SECONDS
        self.podman("exec", self._container(pod), *command, timeout_seconds=wait)

    async def ready(self, pods: list[Pod]) -> None:
        """Waits until pods are ready, as a kubelet finds it."""
        for kind in ("startupProbe", "readinessProbe", "livenessProbe"):
            await asyncio.gather(*(self.probed(pod, kind) for pod in pods))

    async def end(self, pods: list[Pod]) -> None:
        """Ends pods: the hook first, then SIGTERM, and as long as they may take.

        The container alone, as the network would end first with a whole pod of Podman's.
        """

        async def ended(pod: Pod) -> None:
            hook = pod.container.get("lifecycle", {}).get("preStop", {}).get("sleep", {"seconds": 0})
            await asyncio.sleep(hook["seconds"])
            grace = pod.spec["terminationGracePeriodSeconds"] - hook["seconds"]
            stop = ("stop", "--time", str(grace), self._container(pod))
            await asyncio.to_thread(self.podman, *stop, timeout_seconds=grace + 60)

        await asyncio.gather(*(ended(pod) for pod in pods))

    def remove(self, pods: list[Pod]) -> None:
        self.podman("pod", "rm", "--force", *(pod.name for pod in pods))
