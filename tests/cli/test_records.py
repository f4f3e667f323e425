"""`parley audit` and `parley usage`, against services that answer as auth does."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.api import httpbody_pb2

from deploy.certificates import CertificateAuthority
from parley.auth.v1 import audit_pb2, audit_service_pb2, usage_service_pb2
from parley.auth.v1.audit_service_pb2_grpc import AuditServiceServicer, add_AuditServiceServicer_to_server
from parley.auth.v1.key_service_pb2_grpc import add_KeyServiceServicer_to_server
from parley.auth.v1.usage_service_pb2_grpc import UsageServiceServicer, add_UsageServiceServicer_to_server
from services.auth.audit.chain import AuditChain, Position
from services.auth.audit.checkpoints import Checkpoint, CheckpointFile, CheckpointKind, CheckpointSigner
from services.auth.clock import utc_now
from services.auth.store.schema import migrate
from services.rpc.audit import stamped
from services.rpc.tls import TlsFiles
from services.sql.database import Database, parse_url
from tests.cli.conftest import Run
from tests.client.toy_platform import ToyPlatform
from tests.client.toy_services import Keys


def record(sequence: int) -> audit_pb2.AuditRecord:
    event = stamped(
        audit_pb2.AuditEvent(
            stage=audit_pb2.AUDIT_STAGE_ENDED,
            method="/parley.auth.v1.KeyService/CreateKey",
            user_id="ada",
            decision=audit_pb2.AUDIT_DECISION_REFUSED,
            reason="PERMISSION_MISSING",
            client_address="192.0.2.7",
        )
    )
    return audit_pb2.AuditRecord(sequence=sequence, service="auth", event=event, body="{}", hash="ab")


class Audit(AuditServiceServicer):
    def __init__(self) -> None:
        self.requests: list[Any] = []
        self.faults = 0

    async def ListAuditRecords(self, request: Any, context: Any) -> Any:
        self.requests.append(request)
        return audit_service_pb2.ListAuditRecordsResponse(records=[record(2), record(1)])

    async def WatchAuditRecords(self, request: Any, context: Any) -> AsyncIterator[Any]:
        self.requests.append(request)
        yield audit_service_pb2.WatchAuditRecordsResponse(records=[record(1), record(2)])

    async def ExportAuditRecords(self, request: Any, context: Any) -> AsyncIterator[Any]:
        self.requests.append(request)
        for sequence in (1, 2):
            yield audit_service_pb2.ExportAuditRecordsResponse(records=[record(sequence)])

    async def VerifyAudit(self, request: Any, context: Any) -> AsyncIterator[Any]:
        yield audit_service_pb2.VerifyAuditResponse(progress={"records": 2})
        for number in range(self.faults):
            fault = {"kind": "KIND_REMOVED", "message": f"record {number}: gone"}
            yield audit_service_pb2.VerifyAuditResponse(fault=fault)
        summary = {"records": 2, "first_sequence": 1, "last_sequence": 2, "vouched_sequence": 2}
        yield audit_service_pb2.VerifyAuditResponse(summary={**summary, "faults": self.faults})


class Usage(UsageServiceServicer):
    def __init__(self) -> None:
        self.requests: list[Any] = []

    async def QueryUsage(self, request: Any, context: Any) -> Any:
        self.requests.append(usage_service_pb2.QueryUsageRequest.FromString(request.SerializeToString()))
        model = "large" if request.page_token else "demo"
        return usage_service_pb2.QueryUsageResponse(
            sums=[{"day": "2026-11-23", "model": model, "requests": 1, "completion_tokens": 1234}],
            total={"requests": 2, "cost_micros": 2_500_000},
            next_page_token="" if request.page_token else "more",
        )

    async def ExportUsage(self, request: Any, context: Any) -> AsyncIterator[Any]:
        yield httpbody_pb2.HttpBody(content_type="text/csv", data=b"model,requests\r\n")
        yield httpbody_pb2.HttpBody(data=b"demo,1\r\n")


class Platform:
    """Both services on a thread of their own, so that a command may run its own event loop."""

    def __init__(self) -> None:
        self.audit, self.usage = Audit(), Usage()
        self.address = ""

    async def serve(self, tls: TlsFiles, ready: threading.Event, end: asyncio.Event) -> None:
        material = tls.read()
        server = grpc.aio.server()
        credentials = grpc.ssl_server_credentials([(material.private_key, material.certificate)])
        self.address = f"localhost:{server.add_secure_port('127.0.0.1:0', credentials)}"
        add_AuditServiceServicer_to_server(self.audit, server)
        add_UsageServiceServicer_to_server(self.usage, server)
        add_KeyServiceServicer_to_server(Keys(ToyPlatform()), server)  # a key is exchanged first
        await server.start()
        ready.set()
        await end.wait()
        await server.stop(0)


@pytest.fixture
def platform(identity: Callable[[str], TlsFiles]) -> Iterator[Platform]:
    platform, ready, loop, end = Platform(), threading.Event(), asyncio.new_event_loop(), asyncio.Event()
    serving = platform.serve(identity("edge"), ready, end)
    thread = threading.Thread(target=lambda: loop.run_until_complete(serving))
    thread.start()
    assert ready.wait(20)
    yield platform
    loop.call_soon_threadsafe(end.set)
    thread.join(20)
    loop.close()


@pytest.fixture
def parley(alone: Run, platform: Platform, authority: CertificateAuthority) -> Run:
    deployment = {
        "PARLEY_ADDRESS": platform.address,
        "PARLEY_AUTHORITY_PATH": str(authority.certificate_path),
        "PARLEY_API_KEY": "pk_toy",
    }
    return lambda *arguments: alone(*arguments, **deployment)


def test_records_are_a_table_or_lines_of_json(parley: Run, platform: Platform) -> None:
    options = ("--user", "ada", "--decision", "refused", "--since", "2026-11-23", "--limit", "2")
    table = parley("audit", "list", *options).stdout.splitlines()
    assert table[0].split()[:4] == ["record", "time", "service", "user"]
    assert {"2", "ada", "refused", "PERMISSION_MISSING", "192.0.2.7"} <= set(table[1].split())
    (request,) = platform.audit.requests
    assert (request.filter.user_id, request.page_size) == ("ada", 2)
    assert request.filter.decision == audit_pb2.AUDIT_DECISION_REFUSED
    assert request.filter.start_time.ToJsonString() == "2026-11-23T00:00:00Z"
    lines = parley("audit", "list", "--json").stdout.splitlines()
    assert [json.loads(line)["sequence"] for line in lines] == ["2", "1"]


def test_the_tail_shows_what_comes(parley: Run, platform: Platform) -> None:
    lines = parley("audit", "tail", "--after", "0").stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["1", "2"]
    assert platform.audit.requests[0].HasField("after_sequence")
    parley("audit", "tail")
    assert not platform.audit.requests[1].HasField("after_sequence")


def test_an_export_has_a_line_a_record_with_its_hash(parley: Run) -> None:
    lines = [json.loads(line) for line in parley("audit", "export").stdout.splitlines()]
    assert [(line["sequence"], line["hash"]) for line in lines] == [("1", "ab"), ("2", "ab")]


def test_a_proof_s_exit_status_tells_scripts(parley: Run, platform: Platform) -> None:
    whole = parley("audit", "verify")
    assert (whole.exit_code, whole.stdout) == (0, "2 records, 1 to 2; signed up to 2; 0 faults.\n")
    platform.audit.faults = 2
    broken = parley("audit", "verify")
    assert broken.exit_code == 1
    assert broken.stdout.startswith("record 0: gone\nrecord 1: gone\n")
    lines = [json.loads(line) for line in parley("audit", "verify", "--json").stdout.splitlines()]
    assert [next(iter(line)) for line in lines] == ["fault", "fault", "summary"]


async def chain(folder: Path) -> None:
    """Two records with a signed checkpoint, as auth leaves them behind."""
    url = parse_url(f"sqlite+aiosqlite:///{folder / 'auth.db'}")
    await migrate(url)
    database = Database(url)
    audit = AuditChain(database)
    await audit.append("auth", [record(1).event, record(2).event])
    assert isinstance(audit.last, Position)
    signer = CheckpointSigner(folder / "audit-signing-key")
    file = CheckpointFile(folder / "audit-checkpoints", signer.public)
    file.add(signer.sign(Checkpoint(audit.last, CheckpointKind.RECORD, utc_now())))
    await database.close()


async def spoil(folder: Path) -> None:
    database = Database(parse_url(f"sqlite+aiosqlite:///{folder / 'auth.db'}"))
    async with database.engine.begin() as connection:
        await connection.exec_driver_sql("DROP TRIGGER audit_records_delete")
        await connection.exec_driver_sql("DELETE FROM audit_records WHERE sequence = 2")
    await database.close()


def test_a_stopped_stack_s_files_are_proven_by_themselves(alone: Run, home: Path) -> None:
    folder = home / "auth"
    missing = alone("audit", "verify", "--offline")
    assert (missing.exit_code, "There is no file" in missing.stderr) == (5, True)
    folder.mkdir(parents=True)
    asyncio.run(chain(folder))
    whole = alone("audit", "verify", "--offline")
    assert whole.exit_code == 0
    assert json.loads(whole.stdout)["vouched_sequence"] == 2
    asyncio.run(spoil(folder))
    cut = alone("audit", "verify", "--database", str(folder / "auth.db"))
    assert cut.exit_code == 1
    assert json.loads(cut.stdout.splitlines()[0])["fault"] == "CUT"


def test_usage_is_a_table_json_or_csv(parley: Run, platform: Platform) -> None:
    table = parley(
        "usage", "--by", "day", "--by", "model", "--all", "--since", "2026-11-01"
    ).stdout.splitlines()
    assert table[0].split()[:3] == ["day", "model", "requests"]
    assert [row.split()[:2] for row in table[1:3]] == [["2026-11-23", "demo"], ["2026-11-23", "large"]]
    assert table[3].split() == ["total", "2", "0", "0", "0", "0", "2.500000"]
    query = platform.usage.requests[0].query
    assert (query.tenant_wide, query.first_day, list(query.group_by)) == (True, "2026-11-01", [1, 4])
    told = json.loads(parley("usage", "--json").stdout)
    assert [row["model"] for row in told["sums"]] == ["demo", "large"]
    assert parley("usage", "--csv").stdout_bytes == b"model,requests\r\ndemo,1\r\n"
