"""The manifests of deploy/kubernetes as they lie there, and what a kustomization makes of them."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from tests.deploy.imports import ROOT

FOLDER = ROOT / "deploy" / "kubernetes"
Tree = dict[str, Any]
KUBECTL = shutil.which("kubectl")


@dataclass(frozen=True)
class Manifest:
    """One document of a file.

    Attributes:
        file: Where it stands, beneath the folder.
        content: What it says.
    """

    file: Path
    content: Tree

    @property
    def kind(self) -> str:
        return str(self.content["kind"])

    @property
    def name(self) -> str:
        return str(self.content["metadata"]["name"])

    def __str__(self) -> str:
        return f"{self.file}:{self.kind}/{self.name}"


@dataclass(frozen=True)
class Workload:
    """Pods that are alike.

    Attributes:
        name: What its container is called.
        labels: What selects them.
        spec: What a pod is.
    """

    name: str
    labels: Tree
    spec: Tree

    @property
    def container(self) -> Tree:
        (container,) = self.spec["containers"]
        return dict(container)

    @property
    def variables(self) -> dict[str, str]:
        return {entry["name"]: entry["value"] for entry in self.container.get("env", [])}


@cache
def documents(file: Path) -> tuple[Tree, ...]:
    return tuple(yaml.load_all((FOLDER / file).read_text(encoding="utf-8"), yaml.CSafeLoader))


def kustomizations() -> list[Path]:
    """The folders with a kustomization."""
    return sorted(path.parent.relative_to(FOLDER) for path in FOLDER.rglob("kustomization.yaml"))


def kustomization(folder: Path) -> Tree:
    (content,) = documents(folder / "kustomization.yaml")
    return content


def resource_files(folder: Path) -> Iterator[Path]:
    """The files of manifests that a kustomization takes in, from other folders too."""
    for name in kustomization(folder)["resources"]:
        path = (FOLDER / folder / name).resolve().relative_to(FOLDER.resolve())
        if (FOLDER / path).is_dir():
            yield from resource_files(path)
        else:
            yield path


def manifests(folder: Path) -> list[Manifest]:
    """What a kustomization takes in, before it changes it."""
    return [Manifest(file, content) for file in resource_files(folder) for content in documents(file)]


def patches(folder: Path) -> list[Manifest]:
    """What a kustomization changes."""
    files = [folder / patch["path"] for patch in kustomization(folder).get("patches", [])]
    return [Manifest(file, content) for file in files for content in documents(file)]


def every_manifest() -> list[Manifest]:
    """Each manifest that some kustomization takes in, once."""
    files = sorted({file for folder in kustomizations() for file in resource_files(folder)})
    return [Manifest(file, content) for file in files for content in documents(file)]


@cache
def kustomized(overlay: str) -> list[Tree]:
    """What an overlay is in the end; by kubectl, which has to be there."""
    command = [str(KUBECTL), "kustomize", str(FOLDER / "overlays" / overlay)]
    made = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    return list(yaml.load_all(made.stdout, yaml.CSafeLoader))


def workloads() -> list[Workload]:
    """What runs pods, the two halves of a group counted apart."""
    found = []
    for manifest in every_manifest():
        if manifest.kind == "Deployment":
            found.append(_workload(manifest.content["spec"]["template"]))
        elif manifest.kind == "LeaderWorkerSet":
            group = manifest.content["spec"]["leaderWorkerTemplate"]
            found += [_workload(group["leaderTemplate"]), _workload(group["workerTemplate"])]
    return found


def _workload(template: Tree) -> Workload:
    spec = template["spec"]
    return Workload(spec["containers"][0]["name"], template["metadata"]["labels"], spec)
