"""The images built, and Compose's `embedded` profile brought up of them: `make test-images`.

It takes a container engine, 15 GB and many minutes the first time: too long for every change. What is written
down is tested with every change, in `test_images.py` and `test_compose.py`. Where there is no engine,
`deploy/docker/engine.sh up && deploy/docker/engine.sh run make test-images` brings one.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.deploy.composed import EMBEDDED, Composed, composed
from tests.deploy.conftest import SIZES_MIB
from tests.deploy.questions import CHECK, ComposedQuestions, answer, end_well_and_leave_nothing

pytestmark = CHECK

FIRST_ANSWER_SECONDS = 90


@pytest.fixture(scope="module")
def platform(sizes: dict[str, int], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Composed]:
    with composed(EMBEDDED, tmp_path_factory.mktemp("composed")) as running:
        yield running


def test_the_images_are_within_their_sizes(sizes: dict[str, int]) -> None:
    assert sizes.keys() == SIZES_MIB.keys()
    assert {name: size for name, size in sizes.items() if size > SIZES_MIB[name]} == {}


async def test_the_first_answer_comes_in_time(platform: Composed) -> None:
    text = await answer(await platform.admin())
    seconds = platform.seconds
    print(f"first answer after {seconds:.1f} s: {text}")
    assert "391" in text
    assert seconds <= FIRST_ANSWER_SECONDS


class TestEmbedded(ComposedQuestions):
    """The same as of every variant."""


def test_they_end_well_and_nothing_is_left(platform: Composed) -> None:
    end_well_and_leave_nothing(platform)
