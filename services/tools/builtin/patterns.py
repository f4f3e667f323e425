"""Regular expressions written by anyone, matched within a time limit.

The time is the processor's, as the `regex` library counts it: a busy machine
makes no pattern too slow. The tool's own limit stands behind it.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice

import regex

from services.tools.errors import PatternInvalid, PatternTooSlow

MAX_PATTERN_CHARACTERS = 1000
MATCH_SECONDS = 1.0


class Matcher:
    """A regular expression and the processor's time that all its matching may take."""

    def __init__(self, pattern: str, tool: str, *, flags: int = 0, seconds: float = MATCH_SECONDS) -> None:
        """Compile it.

        Args:
            pattern: In the syntax of Python's `re`, and more (see the `regex` library).
            tool: The tool, for errors.
            flags: Of the `regex` library.
            seconds: The processor's time for all matching together.

        Raises:
            PatternInvalid: It is no regular expression.
        """
        self._tool = tool
        self._seconds = seconds
        self._left = seconds
        try:
            self.pattern = regex.compile(pattern, flags | regex.VERSION0, cache_pattern=False)
        except (regex.error, ValueError, OverflowError, RecursionError, MemoryError) as error:
            raise PatternInvalid(tool, str(error) or "it is too large") from None

    @contextmanager
    def timed(self) -> Iterator[float]:
        """The seconds that are left for the matching within.

        Raises:
            PatternTooSlow: It took longer.
        """
        if self._left <= 0:
            raise PatternTooSlow(self._tool, self._seconds)
        started = time.process_time()
        try:
            yield self._left
        except TimeoutError:
            raise PatternTooSlow(self._tool, self._seconds) from None
        finally:
            self._left -= time.process_time() - started

    def search(self, text: str) -> regex.Match[str] | None:
        """The first match.

        Raises:
            PatternTooSlow: It takes too long.
        """
        with self.timed() as seconds:
            return self.pattern.search(text, timeout=seconds)

    def each(self, text: str) -> Iterator[regex.Match[str]]:
        """All matches, from left to right.

        Raises:
            PatternTooSlow: It takes too long.
        """
        with self.timed() as seconds:
            matches = self.pattern.finditer(text, timeout=seconds)
        while True:
            with self.timed():
                found = next(matches, None)
            if found is None:
                return
            yield found

    def find(self, text: str, limit: int) -> tuple[list[regex.Match[str]], bool]:
        """The first matches, and whether there are more.

        Raises:
            PatternTooSlow: It takes too long.
        """
        matches = self.each(text)
        found = list(islice(matches, limit))
        return found, next(matches, None) is not None
