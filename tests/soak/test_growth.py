"""What grows is found, and what fills once is not taken for it."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.soak.growth import growths, plot
from tests.soak.samples import Sample


def samples(memory: Callable[[float], float]) -> list[Sample]:
    """Ten minutes of a process that is the same but for its memory."""
    return [
        Sample(
            minute / 10, {"auth": memory(minute / 10)}, {"auth": 30}, {"auth": 9}, {"auth": 1}, {"store": 7}
        )
        for minute in range(101)
    ]


@pytest.mark.parametrize(
    ("memory", "flat"),
    [
        pytest.param(lambda minute: 400.0, True, id="the same"),
        pytest.param(lambda minute: min(400.0, 100 + 150 * minute), True, id="fills once"),
        pytest.param(lambda minute: 400 + minute, True, id="within its bounds"),
        pytest.param(lambda minute: 400 + 10 * minute, False, id="without end"),
    ],
)
def test_what_grows_is_found(memory: Callable[[float], float], flat: bool) -> None:
    found = {each.kind.name: each for each in growths(samples(memory))}
    assert {name for name, each in found.items() if not each.is_flat} == (set() if flat else {"memory"})
    assert (found["keys"].process, found["keys"].early, found["keys"].late) == ("store", 7, 7)


def test_a_soak_is_drawn(tmp_path: Path) -> None:
    plot(samples(lambda minute: 400.0), tmp_path / "soak.png")
    assert (tmp_path / "soak.png").read_bytes().startswith(b"\x89PNG")
