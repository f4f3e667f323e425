"""The scan for secrets finds one, and leaves alone what is marked as none."""

from __future__ import annotations

import json
from pathlib import Path

from deploy.scan_secrets import BASELINE, LEFT_OUT, scan


def test_a_key_is_found_and_a_marked_line_is_not(tmp_path: Path) -> None:
    file = tmp_path / "settings.py"
    key = "AKIA" + "Z7Q4M2X9K5W8R3T6"
    file.write_text(f'ours = "{key}"\nnone = "{key}"  # an example  # pragma: allowlist secret\n')
    found = scan([str(file)], json.loads(BASELINE.read_text()))
    assert {each["line_number"] for each in found} == {1}
    assert "AWS Access Key" in {each["type"] for each in found}


def test_what_people_write_is_scanned() -> None:
    for name in ("services/auth/settings.py", "deploy/compose.yaml", ".github/workflows/ci.yml", "README.md"):
        assert not LEFT_OUT.search(name)
