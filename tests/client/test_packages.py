"""The packages of clients in other languages."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_typescript_package_has_the_version_of_the_platform() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    package = json.loads((ROOT / "clients/typescript/package.json").read_text())
    assert package["version"] == project["version"]
