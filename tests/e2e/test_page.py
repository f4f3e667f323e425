"""The page at the front door, in real Chromium, with the real model behind it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.chromium import log_in_and_be_answered
from tests.platform import Stack

pytestmark = pytest.mark.slow

PICTURE = Path(__file__).parents[2] / "build" / "e2e" / "page.png"


async def test_a_person_logs_in_and_is_answered_with_a_tool(stack: Stack) -> None:
    await log_in_and_be_answered(f"https://{stack.address}/", stack.password, PICTURE)
    assert PICTURE.stat().st_size > 0
