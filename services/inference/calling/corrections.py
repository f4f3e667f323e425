"""Bounds how often a model may correct what a tool does not take."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from google.rpc import code_pb2

from services.inference.calling.errors import ToolArgumentsRejected
from services.inference.runs.events import CallResult


class Corrections:
    """Counts how often in a row a tool's arguments were refused."""

    def __init__(self, most: int) -> None:
        """Allow this many rounds in a row for each tool."""
        self._most = most
        self._refused: Counter[str] = Counter()

    def note(self, results: Sequence[CallResult]) -> None:
        """Take in how the calls of a round ended.

        Raises:
            ToolArgumentsRejected: A tool's arguments were refused once too often.
        """
        refused = {result.call.name: result.error for result in results if _is_refusal(result)}
        taken = {result.call.name for result in results if not _is_refusal(result)}
        for name in taken:
            self._refused[name] = 0
        for name, error in refused.items():
            self._refused[name] += name not in taken
            if error is not None and self._refused[name] > self._most:
                raise ToolArgumentsRejected(name, error.message)


def _is_refusal(result: CallResult) -> bool:
    """Whether a tool did not take its arguments."""
    return result.error is not None and result.error.code == code_pb2.INVALID_ARGUMENT
