"""`parley audit`: what was decided and done, and the proof that nobody changed it."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from google.protobuf.json_format import MessageToDict

from cli.connection import Deployment, call
from cli.console import answers, errors, print_json_line, print_table
from cli.failures import CommandError, ExitCode, told
from parley.auth.v1 import audit_pb2
from parley.auth.v1 import audit_service_pb2 as pb2
from parley_client.client import Client

app = typer.Typer(help="What was decided and done, and its proof.", no_args_is_help=True)

COLUMNS = ["record", "time", "service", "user", "key", "method", "decision", "why", "from", "request"]
PAGE = 1000


class Decision(StrEnum):
    """Whether a caller was let in."""

    ALLOWED = "allowed"
    REFUSED = "refused"


Json = Annotated[bool, typer.Option("--json", help="Write a line of JSON a record, for scripts.")]
User = Annotated[str, typer.Option("--user", help="Of this user alone, by id.")]
Key = Annotated[str, typer.Option("--key", help="Of this API key alone, by id.")]
RequestId = Annotated[str, typer.Option("--request", help="Of this call alone, by its request id.")]
Method = Annotated[
    str, typer.Option("--method", help="Of methods that begin so: /parley.auth.v1.KeyService/.")
]
Decided = Annotated[Decision | None, typer.Option("--decision", help="Of this decision alone.")]
Since = Annotated[datetime | None, typer.Option("--since", help="Not before this time, in UTC.")]
Until = Annotated[datetime | None, typer.Option("--until", help="Before this time, in UTC.")]
Tenant = Annotated[str, typer.Option("--tenant", help="Of this tenant alone; for the root tenant.")]


@app.command("list")
@told
def list_records(
    user: User = "",
    key: Key = "",
    request: RequestId = "",
    method: Method = "",
    decision: Decided = None,
    since: Since = None,
    until: Until = None,
    tenant: Tenant = "",
    limit: Annotated[int, typer.Option(help="Most records shown.", min=1, max=PAGE)] = 50,
    as_json: Json = False,
) -> None:
    """List records, newest first."""
    wanted = _filter(user, key, request, method, decision, tenant, since, until)
    asked = pb2.ListAuditRecordsRequest(filter=wanted, page_size=limit)
    found = call(lambda client: client.administration.list_audit_records(asked)).records
    if as_json:
        for record in found:
            print_json_line(_fields(record))
    else:
        print_table(COLUMNS, (_row(record) for record in found))


@app.command()
@told
def tail(
    user: User = "",
    key: Key = "",
    request: RequestId = "",
    method: Method = "",
    decision: Decided = None,
    tenant: Tenant = "",
    after: Annotated[int | None, typer.Option(help="Begin after this record; 0 shows all.", min=0)] = None,
    as_json: Json = False,
) -> None:
    """Follow records as they are written, until interrupted."""
    wanted = _filter(user, key, request, method, decision, tenant)
    asked = pb2.WatchAuditRecordsRequest(filter=wanted, after_sequence=after)

    async def follow(client: Client) -> None:
        async with client.administration.watch_audit_records(asked) as batches:
            async for batch in batches:
                for record in batch:
                    _show(record, as_json)

    call(follow)


@app.command()
@told
def export(
    user: User = "",
    key: Key = "",
    request: RequestId = "",
    method: Method = "",
    decision: Decided = None,
    since: Since = None,
    until: Until = None,
    tenant: Tenant = "",
) -> None:
    """Write all records to standard output, oldest first: a line of JSON each, with its hashes."""
    wanted = _filter(user, key, request, method, decision, tenant, since, until)

    async def write(client: Client) -> None:
        asked = pb2.ExportAuditRecordsRequest(filter=wanted)
        async with client.administration.export_audit_records(asked) as batches:
            async for batch in batches:
                for record in batch:
                    print_json_line(_fields(record))

    call(write)


@app.command()
@told
def verify(
    offline: Annotated[
        bool, typer.Option("--offline", help="Look at the local stack's files themselves; nothing need run.")
    ] = False,
    database: Annotated[Path | None, typer.Option(help="SQLite file of a copy; implies --offline.")] = None,
    checkpoints: Annotated[Path | None, typer.Option(help="Its signed checkpoints.")] = None,
    public_key: Annotated[Path | None, typer.Option("--key", help="The public key of those.")] = None,
    as_json: Json = False,
) -> None:
    """Prove that no record was changed, removed, moved or cut off. Exit status 1 if one was."""
    if offline or database is not None:
        raise typer.Exit(_prove_files(database, checkpoints, public_key))
    faults, summary = call(lambda client: _prove(client, as_json))
    if as_json:
        print_json_line({"summary": _message(summary)})
    else:
        told_of = f"{summary.records} records, {summary.first_sequence} to {summary.last_sequence}"
        answers().print(f"{told_of}; signed up to {summary.vouched_sequence}; {faults} faults.", markup=False)
    if faults:
        raise typer.Exit(ExitCode.FAILED)


async def _prove(client: Client, as_json: bool) -> tuple[int, pb2.AuditSummary]:
    summary = pb2.AuditSummary()
    async with client.administration.verify_audit() as steps:
        async for step in steps:
            match step.WhichOneof("step"):
                case "fault" if as_json:
                    print_json_line({"fault": _message(step.fault)})
                case "fault":
                    answers().print(step.fault.message, style="red", markup=False)
                case "summary":
                    summary = step.summary
    return summary.faults, summary


@dataclass(frozen=True)
class _Files:
    """What a proof without a service looks at."""

    database: Path
    checkpoints: Path
    key: Path


def _prove_files(database: Path | None, checkpoints: Path | None, key: Path | None) -> int:
    """Have the auth service's own code look at the files, in a process of its own."""
    folder = Deployment.find().home.path / "auth"
    files = _Files(
        database or folder / "auth.db",
        checkpoints or folder / "audit-checkpoints",
        key or folder / "audit-signing-key.public",
    )
    for path in (files.database, files.key):
        if not path.is_file():
            raise CommandError(f"There is no file {path}.", "Name it with an option.", ExitCode.MACHINE)
    command = [sys.executable, "-P", "-m", "services.auth.audit.offline"]
    command += ["--checkpoints", str(files.checkpoints.absolute()), "--key", str(files.key.absolute())]
    url = f"sqlite+aiosqlite:///{files.database.absolute()}"
    done = subprocess.run(
        command,
        env={**os.environ, "PARLEY_AUTH_DATABASE_URL": url},
        check=False,
        text=True,
        capture_output=True,
    )
    answers().print(done.stdout, end="", markup=False)
    errors().print(done.stderr, end="", markup=False)
    return done.returncode


def _filter(
    user: str,
    key: str,
    request: str,
    method: str,
    decision: Decision | None,
    tenant: str,
    since: datetime | None = None,
    until: datetime | None = None,
) -> pb2.AuditFilter:
    wanted = pb2.AuditFilter(
        tenant_id=tenant, user_id=user, key_id=key, request_id=request, method_prefix=method
    )
    if decision is not None:
        wanted.decision = audit_pb2.AuditDecision.Value(f"AUDIT_DECISION_{decision.name}")
    if since is not None:
        wanted.start_time.FromDatetime(since.replace(tzinfo=UTC))
    if until is not None:
        wanted.end_time.FromDatetime(until.replace(tzinfo=UTC))
    return wanted


def _show(record: audit_pb2.AuditRecord, as_json: bool) -> None:
    if as_json:
        print_json_line(_fields(record))
    else:
        answers().print("  ".join(_row(record)), markup=False)


def _row(record: audit_pb2.AuditRecord) -> list[str]:
    event = record.event
    decision = audit_pb2.AuditDecision.Name(event.decision).removeprefix("AUDIT_DECISION_").lower()
    stage = audit_pb2.AuditStage.Name(event.stage).removeprefix("AUDIT_STAGE_").lower()
    why = event.reason or (event.code if stage == "ended" else stage)
    if event.lost:
        why = f"{why}: {event.lost} lost"
    return [
        str(record.sequence),
        event.time.ToDatetime(UTC).strftime("%Y-%m-%d %H:%M:%S"),
        record.service,
        event.user_id or "-",
        event.key_id or "-",
        event.method.removeprefix("/parley.") or "-",
        decision,
        why or "-",
        event.client_address or event.peer or "-",
        event.request_id or "-",
    ]


def _fields(record: audit_pb2.AuditRecord) -> dict[str, object]:
    return dict(MessageToDict(record, preserving_proto_field_name=True))


def _message(message: pb2.AuditSummary | pb2.AuditFault) -> dict[str, object]:
    return dict(MessageToDict(message, preserving_proto_field_name=True))
