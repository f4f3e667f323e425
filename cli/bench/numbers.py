"""Numbers that a process gives at its metrics address."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from prometheus_client.parser import text_string_to_metric_families

if TYPE_CHECKING:
    from aiohttp import ClientSession

# Packing a line costs more than it saves.
PLAIN = {"Accept-Encoding": "identity"}


class Metrics(Protocol):
    """What a process tells of itself."""

    async def of(self, *names: str) -> tuple[float, ...]:
        """The series of these names, each summed over its labels."""
        ...


class Numbers:
    """The metrics that a process serves."""

    def __init__(self, session: ClientSession) -> None:
        """Ask where this session leads to."""
        self._session = session

    async def of(self, *names: str) -> tuple[float, ...]:
        """See `Metrics.of`.

        Raises:
            aiohttp.ClientError: The process does not answer.
        """
        # Those that are named alone are made quicker than all; vLLM knows the filter at this path only.
        asked = [("name[]", name) for name in names]
        async with self._session.get("/metrics/", params=asked, headers=PLAIN) as answered:
            answered.raise_for_status()
            text = await answered.text()
        totals = dict.fromkeys(names, 0.0)
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                if sample.name in totals:
                    totals[sample.name] += sample.value
        return tuple(totals[name] for name in names)
