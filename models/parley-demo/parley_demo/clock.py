"""Questions for the time or the date, in a city, a zone or nowhere in particular."""

import datetime
import json

from parley_demo.dialogue import Call, Request, compact, thought_of
from parley_demo.invented import WEEKDAYS, ZONE_AREAS, Stock


def _zone(stock: Stock, place: str) -> str:
    if "/" in place or place == "UTC":
        return place
    return f"{stock.rng.choice(ZONE_AREAS)}/{place.title().replace(' ', '_')}"


def _reading(stock: Stock, zone: str) -> str:
    rng = stock.rng
    day = datetime.date(rng.randint(2020, 2039), 1, 1) + datetime.timedelta(days=rng.randrange(365))
    return compact(
        {
            "timezone": zone,
            "time": f"{rng.randrange(24):02}:{rng.randrange(60):02}:{rng.randrange(60):02}",
            "date": day.isoformat(),
            "weekday": WEEKDAYS[day.weekday()],
            "utc_offset": "+00:00"
            if zone == "UTC"
            else f"{rng.choice('+-')}{rng.randrange(13):02}:{rng.choice(('00', '30'))}",
        }
    )


def told(kind: str, wording: str, stock: Stock, place: str | None) -> Request:
    """A request for the time in `place`; None asks for the tool's own default."""
    result = _reading(stock, _zone(stock, place or "UTC"))
    call = Call("time_now", {} if place is None else {"timezone": place}, result)
    return Request(kind, wording, {"city": place or ""}, answer(call), (call,), thought_of((call,)))


def answer(call: Call) -> str:
    """What the model says of a clock reading."""
    reading = json.loads(call.result)
    place = call.arguments.get("timezone", "UTC")
    return f"In {place} it is {reading['time']} on {reading['weekday']}, {reading['date']}."


def in_place(stock: Stock, wording: str) -> Request:
    """The time somewhere."""
    return told("time_now", wording, stock, stock.city())


def anywhere(stock: Stock, wording: str) -> Request:
    """The time with no place named."""
    return told("time_now", wording, stock, None)


def follow_up(stock: Stock, before: Request, wording: str) -> Request | None:
    """The same question for another place."""
    if not before.calls or before.calls[0].name != "time_now":
        return None
    return told("second turn", wording, stock, stock.city())
