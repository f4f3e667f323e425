from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import available_timezones

import pytest
from pydantic import ValidationError

from services.tools.builtin.utility import (
    TimeNowArguments,
    ZoneNames,
    fold,
    read_clock,
    tell_time,
    time_now,
    zone_names,
)
from services.tools.catalogue import LoopCall
from services.tools.errors import TimezoneUnknown
from tests.conftest import TokenMaker
from tests.tools.conftest import discard

NOON = datetime(2026, 11, 23, 12, 0, 5, tzinfo=UTC)


@pytest.mark.parametrize(
    ("zone", "time", "date", "offset"),
    [
        ("UTC", "12:00:05", "2026-11-23", "+00:00"),
        ("Asia/Seoul", "21:00:05", "2026-11-23", "+09:00"),
        ("America/New_York", "07:00:05", "2026-11-23", "-05:00"),
        ("Asia/Kathmandu", "17:45:05", "2026-11-23", "+05:45"),
        ("America/St_Johns", "08:30:05", "2026-11-23", "-03:30"),
        ("Pacific/Kiritimati", "02:00:05", "2026-11-24", "+14:00"),
    ],
)
def test_a_clock_is_read(zone: str, time: str, date: str, offset: str) -> None:
    result = read_clock(zone, NOON)
    assert (result.time, result.date, result.utc_offset) == (time, date, offset)


def test_the_answer_is_as_the_model_learned_it() -> None:
    assert read_clock("Asia/Seoul", NOON).to_json() == (
        '{"timezone":"Asia/Seoul","time":"21:00:05","date":"2026-11-23","weekday":"Monday","utc_offset":"+09:00"}'
    )


def test_several_clocks_are_read_at_one_moment() -> None:
    asked = TimeNowArguments(timezone="Seoul", more_timezones=["UTC", "Lima"])
    result = tell_time(asked, NOON)
    assert (result.timezone, result.time) == ("Asia/Seoul", "21:00:05")
    assert [(clock.timezone, clock.time) for clock in result.more or []] == [
        ("UTC", "12:00:05"),
        ("America/Lima", "07:00:05"),
    ]
    with pytest.raises(TimezoneUnknown):
        tell_time(TimeNowArguments(more_timezones=["Atlantis!"]), NOON)


def test_details_are_told_when_asked_for() -> None:
    result = tell_time(TimeNowArguments(timezone="Berlin", detailed=True), NOON)
    assert result.iso == "2026-11-23T13:00:05+01:00"
    assert (result.unix_seconds, result.week, result.day_of_year) == (1795435205, 48, 327)
    assert result.abbreviation == "CET"
    assert result.more is None


def test_without_details_the_answer_has_no_more_fields() -> None:
    plain = tell_time(TimeNowArguments(timezone="Seoul"), NOON).to_json()
    assert plain == read_clock("Asia/Seoul", NOON).to_json()


@pytest.mark.parametrize(
    ("name", "zone"),
    [
        ("Seoul", "Asia/Seoul"),
        ("seoul", "Asia/Seoul"),
        ("  SEOUL ", "Asia/Seoul"),
        ("New York", "America/New_York"),
        ("new york", "America/New_York"),
        ("New_York", "America/New_York"),
        ("São Paulo", "America/Sao_Paulo"),
        ("Sao Paulo", "America/Sao_Paulo"),
        ("Zürich", "Europe/Zurich"),
        ("Buenos Aires", "America/Buenos_Aires"),
        ("europe/berlin", "Europe/Berlin"),
        ("UTC", "UTC"),
        ("utc", "UTC"),
        ("Etc/GMT+5", "Etc/GMT+5"),
        ("Port-au-Prince", "America/Port-au-Prince"),
        ("Louisville", "America/Louisville"),
        ("Japan", "Japan"),
    ],
)
def test_a_zone_is_found_by_name_or_city(name: str, zone: str) -> None:
    assert zone_names().find(name) == zone


def test_every_zone_is_found_by_its_own_name() -> None:
    assert all(zone_names().find(zone) == zone for zone in available_timezones())


@pytest.mark.parametrize(
    ("name", "nearest"), [("Soul", "Asia/Seoul"), ("Atlantis", "Atlantic/Azores"), ("Berln", "Europe/Berlin")]
)
def test_an_unknown_name_gets_the_nearest(name: str, nearest: str) -> None:
    names = ZoneNames.of(["Asia/Seoul", "Europe/Berlin", "Atlantic/Azores", "Atlantic/Atlantis_"])
    if name == "Atlantis":
        assert names.find(name) == "Atlantic/Atlantis_"
        return
    with pytest.raises(TimezoneUnknown) as caught:
        names.find(name)
    assert caught.value.metadata == {"timezone": name, "nearest": nearest}


def test_a_hopeless_name_gets_no_hint() -> None:
    with pytest.raises(TimezoneUnknown) as caught:
        zone_names().find("../../etc/passwd")
    assert caught.value.metadata["nearest"] == ""


def test_names_are_folded() -> None:
    assert fold("SÃO_Paulo") == "sao paulo"
    assert fold("Port-au-Prince") == "port-au-prince"


async def test_the_tool_tells_the_present(tokens: TokenMaker) -> None:
    before = datetime.now(UTC).replace(microsecond=0)
    result = await time_now.run(TimeNowArguments(), LoopCall(tokens.principal(), discard))
    told = datetime.fromisoformat(f"{result.date}T{result.time}+00:00")
    assert before <= told <= datetime.now(UTC)
    assert result.timezone == "UTC"


@pytest.mark.parametrize("timezone", ["", "x" * 65, 5, None])
def test_other_arguments_are_refused(timezone: object) -> None:
    with pytest.raises(ValidationError):
        TimeNowArguments(timezone=timezone)
