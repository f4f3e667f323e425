"""Fills the templates of rooms. Every value is escaped, whoever it came from."""

from __future__ import annotations

from datetime import UTC
from pathlib import Path
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from web.administration.money import rounded_price

TEMPLATES_PATHS = (
    Path(__file__).parent / "templates",
    Path(__file__).parents[1] / "conversations" / "templates",
    Path(__file__).parents[1] / "playground" / "templates",
)


def moment(time: Timestamp) -> str:
    """A time for people, to the minute, in UTC."""
    return time.ToDatetime(UTC).strftime("%Y-%m-%d %H:%M")


def day(time: Timestamp) -> str:
    """The day of a time, in UTC."""
    return time.ToDatetime(UTC).strftime("%Y-%m-%d")


def count(number: float) -> str:
    """A number for people: `1,234,567`."""
    return f"{number:,}"


_templates = Environment(
    loader=FileSystemLoader(TEMPLATES_PATHS),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_templates.filters.update(moment=moment, day=day, count=count, money=rounded_price)


def draw(template: str, **values: Any) -> str:
    """A template's HTML."""
    return _templates.get_template(template).render(**values)
