"""Tools for everything else."""

from __future__ import annotations

import difflib
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Annotated, Any
from zoneinfo import ZoneInfo, available_timezones

from pydantic import Field, StringConstraints

from services.tools.catalogue import Arguments, Category, Example, LoopCall, SafetyLevel, ToolResult, tool
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


MAX_ZONES = 20
MAX_ZONE_CHARACTERS = 64

Zone = Annotated[str, StringConstraints(min_length=1, max_length=MAX_ZONE_CHARACTERS)]


class TimeNowArguments(Arguments):
    """What `time_now` takes."""

    timezone: Zone = Field(
        "UTC",
        description="A city, or a time zone of the IANA database.",
        examples=["Seoul", "America/New_York"],
    )
    more_timezones: list[Zone] = Field(
        [], max_length=MAX_ZONES, description="Further cities or time zones, for the same moment."
    )
    detailed: bool = Field(False, description="Whether to tell ISO time, Unix time and week, too.")


class Clock(ToolResult):
    """What a clock shows."""

    timezone: str = Field(description="The zone's IANA name.")
    time: str = Field(description="Hours, minutes and seconds, 00:00:00 to 23:59:59.")
    date: str = Field(description="Year, month and day (ISO 8601).")
    weekday: str = Field(description="The day's English name.")
    utc_offset: str = Field(description="What local time is ahead of UTC, as +HH:MM or -HH:MM.")


class TimeNowResult(Clock):
    """What `time_now` gives."""

    iso: str | None = Field(None, description="Date, time and offset (ISO 8601), if details are asked for.")
    unix_seconds: int | None = Field(None, description="Seconds since 1970-01-01T00:00:00Z.")
    week: int | None = Field(None, description="Week of the year (ISO 8601), 1 to 53.")
    day_of_year: int | None = Field(None, description="1 to 366.")
    abbreviation: str | None = Field(None, description="The zone's short name, such as CET.")
    more: list[Clock] | None = Field(None, description="The clocks of the further zones, in order.")


@tool(
    category=Category.UTILITY,
    safety=SafetyLevel.SAFE,
    timeout_seconds=5,
    idempotent=True,
    examples=(
        Example(
            "The time in a city",
            {"timezone": "Seoul"},
            {
                "timezone": "Asia/Seoul",
                "time": "15:04:05",
                "date": "2026-11-23",
                "weekday": "Monday",
                "utc_offset": "+09:00",
            },
            varies=True,
        ),
        Example(
            "The time in two places at once",
            {"timezone": "UTC", "more_timezones": ["Lima"]},
            {
                "timezone": "UTC",
                "time": "06:04:05",
                "date": "2026-11-23",
                "weekday": "Monday",
                "utc_offset": "+00:00",
                "more": [
                    {
                        "timezone": "America/Lima",
                        "time": "01:04:05",
                        "date": "2026-11-23",
                        "weekday": "Monday",
                        "utc_offset": "-05:00",
                    }
                ],
            },
            varies=True,
        ),
    ),
)
async def time_now(arguments: TimeNowArguments, _call: LoopCall) -> TimeNowResult:
    """Tells the current time and date in a city or time zone."""
    return tell_time(arguments, datetime.now(UTC))


def tell_time(arguments: TimeNowArguments, now: datetime) -> TimeNowResult:
    """What `time_now` answers at a moment.

    Raises:
        TimezoneUnknown: There is no such zone; names the nearest.
    """
    zone, *more = (zone_names().find(name) for name in (arguments.timezone, *arguments.more_timezones))
    shown = read_clock(zone, now).model_dump()
    if arguments.detailed:
        shown |= _details(now.astimezone(ZoneInfo(zone)))
    return TimeNowResult(**shown, more=[read_clock(name, now) for name in more] or None)


def read_clock(zone: str, now: datetime) -> Clock:
    """What the clocks of a zone show at a moment."""
    local = now.astimezone(ZoneInfo(zone))
    return Clock(
        timezone=zone,
        time=f"{local:%H:%M:%S}",
        date=f"{local:%Y-%m-%d}",
        weekday=f"{local:%A}",
        utc_offset=_offset(local.utcoffset() or timedelta()),
    )


def _details(local: datetime) -> dict[str, Any]:
    return {
        "iso": local.isoformat(timespec="seconds"),
        "unix_seconds": int(local.timestamp()),
        "week": local.isocalendar().week,
        "day_of_year": local.timetuple().tm_yday,
        "abbreviation": local.tzname() or "",
    }


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
