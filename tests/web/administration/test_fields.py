from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

import pytest

from parley_client.errors import ParleyError
from web.administration.fields import Fields
from web.administration.money import from_micros, from_nanos, price_text, rounded_price, to_micros, to_nanos


@pytest.mark.parametrize("data", [None, 3, "text", [], {"a": "text"}, {"a": 3}, {"a": None}])
def test_what_is_no_form_is_empty(data: object) -> None:
    assert Fields.sent(data).text("a") == ""


def test_a_form_is_read() -> None:
    fields = Fields.sent({"a": [" x "], "roles": ["user", "admin"], "n": [3]})
    assert fields.text("a") == "x"
    assert fields.all("roles") == ["user", "admin"]
    assert fields.whole("n") == 3
    assert fields.all("other") == []


def test_words_stand_between_spaces_lines_and_commas_once_each() -> None:
    assert Fields({"scopes": ["a.b, c.*\n\nd a.b"]}).words("scopes") == ["a.b", "c.*", "d"]


@pytest.mark.parametrize("text", ["-1", "x", "NaN", "Infinity", "1.5", "1e400000"])
def test_a_number_that_is_none_is_refused_by_its_name(text: str) -> None:
    with pytest.raises(ParleyError) as caught:
        Fields({"tokens_per_day": [text]}).whole("tokens_per_day")
    assert caught.value.violations[0].field == "tokens per day"


def test_a_number_has_a_largest_value_of_its_own() -> None:
    with pytest.raises(ParleyError, match="cannot be sent"):
        Fields({"days": ["31"]}).whole("days", 30)
    assert Fields({"days": ["30"]}).whole("days", 30) == 30


def test_half_a_character_can_be_sent() -> None:
    assert Fields.sent({"name": ["a\ud800b"]}).text("name") == "a?b"


def test_numbers_and_times_may_be_left_out() -> None:
    fields = Fields({"n": [" "], "t": [""]})
    assert (fields.whole("n"), fields.decimal("n"), fields.time("t")) == (None, None, None)


def test_a_time_is_of_utc() -> None:
    assert Fields({"t": ["2026-11-23T09:30"]}).time("t") == datetime(2026, 11, 23, 9, 30, tzinfo=UTC)
    with pytest.raises(ParleyError):
        Fields({"t": ["yesterday"]}).time("t")


@pytest.mark.parametrize(
    ("micros", "text"), [(0, "0.00"), (15, "0.000015"), (1_204_500_000, "1,204.50"), (1_000_000, "1.00")]
)
def test_money_is_told_to_the_cent_at_least(micros: int, text: str) -> None:
    assert price_text(micros) == text
    assert to_micros(Decimal(from_micros(micros))) == micros


def test_large_money_is_told_to_the_cent() -> None:
    assert rounded_price(11_300_400) == "11.30"
    assert rounded_price(300_400) == "0.3004"


def test_prices_are_of_a_million_tokens() -> None:
    assert from_nanos(150) == "0.15"
    assert to_nanos(Decimal("0.15")) == 150
    assert to_nanos(None) is None
    assert to_micros(None) is None
