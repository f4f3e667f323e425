"""Kinds of other makers, which Kubernetes' own schemas do not know."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

KINDS = Path(__file__).with_name("kinds")
MODULES = {
    "argoproj.io": "@kubernetes-models/argo-rollouts",
    "cert-manager.io": "@kubernetes-models/cert-manager",
    "external-secrets.io": "@kubernetes-models/external-secrets",
    "keda.sh": "@kubernetes-models/keda",
}
"""The package that describes a group's kinds."""

NODE = shutil.which("node")
INSTALLED = (KINDS / "node_modules").is_dir() and NODE is not None
"""The set-up installs the packages where npm is, and says so where it is not."""


def is_described(content: dict[str, Any]) -> bool:
    """Whether the packages know its kind."""
    return _group(content) in MODULES


def faults(contents: list[dict[str, Any]]) -> list[list[str]]:
    """What is wrong with each of these manifests of kinds that the packages know."""
    asked = [
        {"module": f"{MODULES[_group(content)]}/{content['apiVersion']}", "content": content}
        for content in contents
    ]
    answered = subprocess.run(
        [str(NODE), "check.mjs"],
        cwd=KINDS,
        input=json.dumps(asked),
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
    )
    found: list[list[str]] = json.loads(answered.stdout)
    return found


def _group(content: dict[str, Any]) -> str:
    return str(content["apiVersion"]).partition("/")[0]
