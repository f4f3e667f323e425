"""Dates as people write them."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Literal

from services.tools.errors import DataInvalid

MAX_DATE_CHARACTERS = 100
DateUnit = Literal["seconds", "minutes", "hours", "days", "weeks", "months", "years"]

# Directives without widths: %1000000000d would fill the memory.
_FORMAT = re.compile(r"(?:[^%]|%[aAbBcdfGHIjmMpSuUVwWxXyYzZ%])*")


def parse_date(text: str, tool: str) -> datetime:
    """The moment: ISO 8601 or as people write it; UTC where no zone is said.

    Raises:
        DataInvalid: It is no date.
    """
    from dateutil import parser

    if len(text) > MAX_DATE_CHARACTERS:
        raise DataInvalid(tool, "date", f"it has more than {MAX_DATE_CHARACTERS} characters")
    try:
        moment = _iso(text) or parser.parse(text, default=datetime(1, 1, 1, tzinfo=UTC))
    except (ValueError, OverflowError, ArithmeticError, parser.UnknownTimezoneWarning) as error:
        raise DataInvalid(tool, "date", str(error) or "it is no date") from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _iso(text: str) -> datetime | None:
    try:
        return datetime.fromisoformat(text.strip())
    except ValueError:
        return None


def format_date(moment: datetime, wanted: str, tool: str) -> str:
    """The moment as the format says.

    Raises:
        DataInvalid: It is no format.
    """
    if not _FORMAT.fullmatch(wanted):
        raise DataInvalid(tool, "date format", "after % only single letters such as Y, m and d can stand")
    return moment.strftime(wanted)


def add_to_date(moment: datetime, amount: int, unit: DateUnit, tool: str) -> datetime:
    """The moment so much later; the last of the month where the day is not in it.

    Raises:
        DataInvalid: That is beyond the years 1 to 9999.
    """
    from dateutil.relativedelta import relativedelta

    try:
        return moment + relativedelta(**{unit: amount})  # type: ignore[arg-type]
    except (OverflowError, ValueError) as error:
        raise DataInvalid(tool, "date", str(error)) from None


def seconds_between(first: datetime, second: datetime) -> float:
    """From the first to the second, in seconds."""
    return (second - first).total_seconds()
