"""Writing what Envoy reads: each file in one step."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path

import yaml

from deploy.envoy.tree import Tree


def serialized(tree: Tree, path: Path) -> bytes:
    """A part of the configuration, as JSON where the file's name ends so, else as YAML."""
    if path.suffix == ".json":
        return json.dumps(tree, indent=2).encode()
    return yaml.dump(tree, Dumper=_Plain, sort_keys=False, width=110).encode()


class _Plain(yaml.CSafeDumper):
    """Writes what occurs twice twice: anchors make a configuration hard to read."""

    def ignore_aliases(self, data: object) -> bool:
        """Never refer back."""
        return True


def replace(path: Path, content: bytes) -> None:
    """Write a file beside its place and rename it there, so that no reader sees half of it."""
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    Path(name).replace(path)
