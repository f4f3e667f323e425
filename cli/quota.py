"""`parley quota`: what users, keys, roles and models may use."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Annotated

import typer

from cli.connection import call
from cli.console import answers, print_json, print_table
from cli.failures import CommandError, told
from cli.messages import Json, fields, minute
from parley.auth.v1 import quota_pb2, quota_service_pb2
from parley_client.caller import pages
from parley_client.client import Client
from services.ledger.limits import DIMENSIONS
from services.ledger.quotas import subject_from, subject_text

app = typer.Typer(help="What users, keys, roles and models may use.", no_args_is_help=True)

SUBJECT_HELP = "key/ID, user/ID, role/NAME, model/NAME, default (users without one), or tenant."
Subject = Annotated[str, typer.Argument(metavar="SUBJECT", help=SUBJECT_HELP)]
Tenant = Annotated[str, typer.Option("--tenant", help="Another tenant's, by id; for the root tenant.")]
Number = Annotated[int | None, typer.Option(min=0, help="At most so many; 0 for none at all.")]
Money = Annotated[int | None, typer.Option(min=0, help="Millionths of the currency.")]
Price = Annotated[int | None, typer.Option(min=0, help="Billionths of the currency a token; for a model.")]


@app.command("list")
@told
def list_quotas(tenant: Tenant = "", as_json: Json = False) -> None:
    """List the quotas of your tenant."""

    async def everything(client: Client) -> list[quota_pb2.Quota]:
        def page(token: str) -> Awaitable[quota_service_pb2.ListQuotasResponse]:
            request = quota_service_pb2.ListQuotasRequest(page_token=token, tenant_id=tenant)
            return client.administration.list_quotas(request)

        return [quota async for answer in pages(page) for quota in answer.quotas]

    _tell(call(everything), as_json)


@app.command()
@told
def show(subject: Subject, tenant: Tenant = "", as_json: Json = False) -> None:
    """Show the quota of a subject."""
    named = read_subject(subject)
    quota = call(lambda client: client.administration.get_quota(named, tenant_id=tenant))
    if as_json:
        print_json(fields(quota))
    else:
        _tell([quota], as_json)


@app.command("set")
@told
def set_quota(
    subject: Subject,
    requests_per_minute: Number = None,
    tokens_per_minute: Number = None,
    concurrent_streams: Number = None,
    tokens_per_day: Number = None,
    tokens_per_month: Number = None,
    cost_micros_per_day: Money = None,
    cost_micros_per_month: Money = None,
    prompt_nanos: Price = None,
    completion_nanos: Price = None,
    tenant: Tenant = "",
    as_json: Json = False,
) -> None:
    """Set the quota of a subject, in place of the one that it had: what is not given is not limited."""
    limits = quota_pb2.QuotaLimits(
        requests_per_minute=requests_per_minute,
        tokens_per_minute=tokens_per_minute,
        concurrent_streams=concurrent_streams,
        tokens_per_day=tokens_per_day,
        tokens_per_month=tokens_per_month,
        cost_micros_per_day=cost_micros_per_day,
        cost_micros_per_month=cost_micros_per_month,
    )
    quota = quota_pb2.Quota(subject=read_subject(subject), limits=limits)
    if prompt_nanos is not None or completion_nanos is not None:
        price = quota_pb2.TokenPrice(prompt_nanos=prompt_nanos or 0, completion_nanos=completion_nanos or 0)
        quota.price.CopyFrom(price)
    _tell([call(lambda client: client.administration.set_quota(quota, tenant_id=tenant))], as_json)


@app.command()
@told
def delete(subject: Subject, tenant: Tenant = "") -> None:
    """Take the quota of a subject away."""
    named = read_subject(subject)
    call(lambda client: client.administration.delete_quota(named, tenant_id=tenant))
    answers().print(f"{subject} has no quota any more.", markup=False)


@app.command()
@told
def status(
    model: Annotated[str, typer.Option(help="The model that would be asked.")] = "", as_json: Json = False
) -> None:
    """Show what you have used of every limit that you are held to, and what is left."""
    uses = call(lambda client: client.administration.quota_status(model))
    if as_json:
        print_json([fields(use) for use in uses])
    else:
        columns = ["whose", "what", "limit", "used", "left", "unused again"]
        print_table(columns, (_use_row(use) for use in uses))


def read_subject(text: str) -> quota_pb2.QuotaSubject:
    """The subject that a person names.

    Raises:
        CommandError: It is none.
    """
    try:
        return subject_from(text)
    except ValueError:
        raise CommandError(f"{text} is no subject of a quota.", f"Name {SUBJECT_HELP}") from None


def _tell(quotas: list[quota_pb2.Quota], as_json: bool) -> None:
    if as_json:
        print_json([fields(quota) for quota in quotas])
    else:
        print_table(
            ["subject", "limits", "price of a token, in billionths"], (_row(quota) for quota in quotas)
        )


def _row(quota: quota_pb2.Quota) -> list[str]:
    limits = [
        f"{getattr(quota.limits, dimension.value)} {dimension.value.replace('_', ' ')}"
        for dimension in DIMENSIONS
        if quota.limits.HasField(dimension.value)
    ]
    price = quota.price
    priced = f"{price.prompt_nanos} in, {price.completion_nanos} out" if quota.HasField("price") else ""
    return [subject_text(quota.subject), ", ".join(limits) or "none", priced]


def _use_row(use: quota_pb2.QuotaUse) -> list[object]:
    name = quota_pb2.QuotaDimension.Name(use.dimension).removeprefix("QUOTA_DIMENSION_")
    left = max(0, use.limit - use.used)
    reset = minute(use, "reset_time") if use.HasField("reset_time") else ""
    return [subject_text(use.subject), name.lower().replace("_", " "), use.limit, use.used, left, reset]
