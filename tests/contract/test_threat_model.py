"""Each line of the threat model names tests that exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.attacks.test_auth_attacks import ATTACKS as ON_AUTH
from tests.attacks.test_tool_attacks import ATTACKS as ON_TOOLS

ROOT = Path(__file__).parents[2]
LINES = [
    line
    for line in (ROOT / "docs" / "threat-model.md").read_text(encoding="utf-8").splitlines()
    if re.match(r"\| \d+ \|", line)
]


@pytest.mark.parametrize("line", LINES, ids=lambda line: line.split("|")[2].strip())
def test_a_line_names_its_tests(line: str) -> None:
    proof = line.split("|")[4]
    cases, functions = re.findall(r'"([^"]+)"', proof), re.findall(r"`([^`]+)::(\w+)`", proof)
    assert cases or functions
    assert set(cases) <= {attack.name for attack in (*ON_AUTH, *ON_TOOLS)}
    for path, name in functions:
        assert re.search(
            rf"^(async )?def {name}\(", (ROOT / path).read_text(encoding="utf-8"), re.MULTILINE
        ), name
