"""Tools for everything else."""

from __future__ import annotations

import difflib
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from zoneinfo import ZoneInfo, available_timezones

from pydantic import Field

from services.tools.catalogue import Arguments, Category, LoopCall, SafetyLevel, ToolResult, tool
from services.tools.errors import TimezoneUnknown

# The parts of the tz database whose zones are named after cities.
_REGIONS = frozenset(
    (
        "Africa",
        "America",
        "Antarctica",
        "Arctic",
        "Asia",
        "Atlantic",
        "Australia",
        "Europe",
        "Indian",
        "Pacific",
    )
)


class TimeNowArguments(Arguments):
    """What `time_now` takes."""

    timezone: str = Field(
        "UTC",
        min_length=1,
        max_length=64,
        description="A city, or a time zone of the IANA database.",
        examples=["Seoul", "America/New_York"],
    )


class TimeNowResult(ToolResult):
    """What `time_now` gives."""

    timezone: str = Field(description="The zone's IANA name.")
    time: str = Field(description="Hours, minutes and seconds, 00:00:00 to 23:59:59.")
    date: str = Field(description="Year, month and day (ISO 8601).")
    weekday: str = Field(description="The day's English name.")
    utc_offset: str = Field(description="What local time is ahead of UTC, as +HH:MM or -HH:MM.")


@tool(category=Category.UTILITY, safety=SafetyLevel.SAFE, timeout_seconds=5, idempotent=True)
async def time_now(arguments: TimeNowArguments, _call: LoopCall) -> TimeNowResult:
    """Tells the current time and date in a city or time zone."""
    return read_clock(zone_names().find(arguments.timezone), datetime.now(UTC))


def read_clock(zone: str, now: datetime) -> TimeNowResult:
    """What the clocks of a zone show at a moment."""
    local = now.astimezone(ZoneInfo(zone))
    return TimeNowResult(
        timezone=zone,
        time=f"{local:%H:%M:%S}",
        date=f"{local:%Y-%m-%d}",
        weekday=f"{local:%A}",
        utc_offset=_offset(local.utcoffset() or timedelta()),
    )


def _offset(offset: timedelta) -> str:
    minutes = round(offset.total_seconds() / 60)
    return f"{'-' if minutes < 0 else '+'}{abs(minutes) // 60:02}:{abs(minutes) % 60:02}"


@dataclass(frozen=True)
class ZoneNames:
    """Finds zones by their names and by their cities'.

    Attributes:
        zones: Zones by folded name.
    """

    zones: dict[str, str]

    @classmethod
    def of(cls, zones: Iterable[str]) -> ZoneNames:
        """Names of these zones. Where two cities share a name, the shorter zone name has it."""
        ordered = sorted(zones, key=lambda zone: (len(zone), zone))
        named: dict[str, str] = {}
        for name_of in (_whole_name, _city_name):
            for zone in ordered:
                if (name := name_of(zone)) is not None:
                    named.setdefault(fold(name), zone)
        return cls(named)

    def find(self, name: str) -> str:
        """The zone of this name.

        Raises:
            TimezoneUnknown: There is none; names the nearest.
        """
        folded = fold(name)
        if folded not in self.zones:
            nearest = difflib.get_close_matches(folded, self.zones, n=1)
            raise TimezoneUnknown(name, self.zones[nearest[0]] if nearest else "")
        return self.zones[folded]


@cache
def zone_names() -> ZoneNames:
    """Names of the zones that this machine knows; reads the tz database once."""
    return ZoneNames.of(available_timezones())


def fold(name: str) -> str:
    """The name without case, accents and punctuation: `São Paulo`, `sao_paulo` and `SAO PAULO` are one."""
    plain = unicodedata.normalize("NFKD", name.casefold())
    letters = "".join(character for character in plain if not unicodedata.combining(character))
    return " ".join("".join(c if c.isalnum() or c in "/+-" else " " for c in letters).split())


def _whole_name(zone: str) -> str | None:
    return zone


def _city_name(zone: str) -> str | None:
    region, _, rest = zone.partition("/")
    return rest.rpartition("/")[2] if region in _REGIONS else None


TOOLS = (time_now,)
