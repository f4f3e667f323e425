"""`parley usage`: requests, tokens, calls of tools and their price."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated

import typer
from google.protobuf.json_format import MessageToDict

from cli.connection import call
from cli.console import print_json, print_table
from cli.failures import told
from parley.auth.v1 import usage_service_pb2 as pb2
from parley_client.client import Client

PAGE = 1000
MICROS = 1_000_000


class Dimension(StrEnum):
    """What usage is summed up by."""

    DAY = "day"
    USER = "user"
    KEY = "key"
    MODEL = "model"


NAMES = {Dimension.DAY: "day", Dimension.USER: "user_id", Dimension.KEY: "key_id", Dimension.MODEL: "model"}
AMOUNTS = ["requests", "prompt", "cached", "answer", "tool calls", "cost"]


@told
def usage(
    by: Annotated[
        list[Dimension] | None, typer.Option(help="Sum up by this; may be repeated. Default: day and model.")
    ] = None,
    tenant_wide: Annotated[bool, typer.Option("--all", help="Of everyone of the tenant.")] = False,
    user: Annotated[str, typer.Option(help="Of this user alone, by id.")] = "",
    key: Annotated[str, typer.Option(help="Of this API key alone, by id.")] = "",
    model: Annotated[str, typer.Option(help="Of this model alone.")] = "",
    tenant: Annotated[str, typer.Option(help="Of this tenant; for the root tenant.")] = "",
    since: Annotated[datetime | None, typer.Option(help="The first day.", formats=["%Y-%m-%d"])] = None,
    until: Annotated[datetime | None, typer.Option(help="The last day.", formats=["%Y-%m-%d"])] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Write JSON for scripts.")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Write a CSV file to standard output.")] = False,
) -> None:
    """Show what was used: yours of the last 30 days, unless told otherwise."""
    dimensions = by or [Dimension.DAY, Dimension.MODEL]
    query = pb2.UsageQuery(
        tenant_wide=tenant_wide,
        tenant_id=tenant,
        user_id=user,
        key_id=key,
        model=model,
        first_day=_day(since),
        last_day=_day(until),
        group_by=[pb2.UsageDimension.Value(f"USAGE_DIMENSION_{one.name}") for one in dimensions],
    )
    if as_csv:
        call(lambda client: _write(client, query))
        return
    sums, total = call(lambda client: _sums(client, query))
    if as_json:
        print_json({"sums": [_fields(one) for one in sums], "total": _fields(total)})
    else:
        rows = [_row(one, dimensions) for one in sums]
        print_table(
            [*dimensions, *AMOUNTS], [*rows, ["total", *[""] * (len(dimensions) - 1), *_amounts(total)]]
        )


async def _sums(client: Client, query: pb2.UsageQuery) -> tuple[list[pb2.UsageSum], pb2.UsageSum]:
    """All sums, and the one over all of them."""
    request = pb2.QueryUsageRequest(query=query, page_size=PAGE)
    sums: list[pb2.UsageSum] = []
    while True:
        answer = await client.administration.query_usage(request)
        sums += answer.sums
        if not answer.next_page_token:
            return sums, answer.total
        request.page_token = answer.next_page_token


async def _write(client: Client, query: pb2.UsageQuery) -> None:
    async with client.administration.export_usage(query) as pieces:
        async for piece in pieces:
            sys.stdout.buffer.write(piece)
    sys.stdout.buffer.flush()


def _row(one: pb2.UsageSum, dimensions: list[Dimension]) -> list[str]:
    return [*(getattr(one, NAMES[dimension]) or "-" for dimension in dimensions), *_amounts(one)]


def _amounts(one: pb2.UsageSum) -> list[str]:
    counts = (
        one.requests,
        one.prompt_tokens,
        one.cached_prompt_tokens,
        one.completion_tokens,
        one.tool_calls,
    )
    return [*(f"{count:,}" for count in counts), f"{one.cost_micros / MICROS:.6f}"]


def _day(day: datetime | None) -> str:
    return day.replace(tzinfo=UTC).date().isoformat() if day is not None else ""


def _fields(one: pb2.UsageSum) -> dict[str, object]:
    return dict(MessageToDict(one, preserving_proto_field_name=True))
