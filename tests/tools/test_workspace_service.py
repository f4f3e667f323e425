"""WorkspaceService behind its real server."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import pytest

from parley.tools.v1 import workspace_service_pb2 as pb
from parley.tools.v1.workspace_service_pb2_grpc import (
    WorkspaceServiceStub,
    add_WorkspaceServiceServicer_to_server,
)
from services.rpc.channel import open_channel
from services.rpc.pages import PageTokens
from services.rpc.server import RpcServer
from services.rpc.tls import TlsFiles
from services.tools.room import WorkspaceLimits
from services.tools.settings import ToolsSettings
from services.tools.workspace import Workspaces
from services.tools.workspace_servicer import MAX_UPLOADS, PIECE_BYTES, SILENCE_SECONDS, WorkspaceServicer
from tests.conftest import TokenMaker
from tests.tools.conftest import outcome

LIMITS = WorkspaceLimits(bytes=300_000, entries=50)
PERMISSION = "tools.workspace"


class Desk:
    """A caller of the service."""

    def __init__(self, stub: WorkspaceServiceStub, tokens: TokenMaker, root: Path) -> None:
        self.stub = stub
        self.tokens = tokens
        self.root = root

    def metadata(self, permission: str = PERMISSION, **changes: str) -> tuple[tuple[str, str], ...]:
        return self.tokens.metadata(permission, **changes)

    async def upload(
        self, path: str, *pieces: bytes, metadata: object = None, **header: object
    ) -> pb.UploadFileResponse:
        first = pb.UploadFileRequest(header=pb.UploadHeader(path=path, **header))
        return await self.send(
            (first, *(pb.UploadFileRequest(data=piece) for piece in pieces)), metadata=metadata
        )

    async def send(
        self, messages: Iterable[pb.UploadFileRequest], metadata: object = None
    ) -> pb.UploadFileResponse:
        async def requests() -> AsyncIterator[pb.UploadFileRequest]:
            for message in messages:
                yield message

        return await self.stub.UploadFile(requests(), metadata=metadata or self.metadata())

    async def download(self, path: str, **more: object) -> tuple[pb.WorkspaceFile, list[bytes]]:
        request = pb.DownloadFileRequest(path=path, **more)
        parts = [part async for part in self.stub.DownloadFile(request, metadata=self.metadata())]
        return parts[0].file, [part.data for part in parts[1:]]

    async def list(self, metadata: object = None, **more: object) -> pb.ListFilesResponse:
        return await self.stub.ListFiles(pb.ListFilesRequest(**more), metadata=metadata or self.metadata())

    async def delete(self, path: str, **more: object) -> None:
        request = pb.DeleteFileRequest(path=path, **more)
        assert await self.stub.DeleteFile(request, metadata=self.metadata()) == pb.DeleteFileResponse()

    @property
    def home(self) -> Path:
        principal = self.tokens.principal()
        return self.root / principal.tenant_id / principal.user_id


@asynccontextmanager
async def serving(
    workspaces: Workspaces,
    identity: Callable[[str], TlsFiles],
    tokens: TokenMaker,
    silence_seconds: float = SILENCE_SECONDS,
) -> AsyncIterator[Desk]:
    files = identity("tools")
    settings = ToolsSettings(
        listen_address="127.0.0.1:0",
        tls_certificate_path=files.certificate,
        tls_private_key_path=files.private_key,
        tls_authority_path=files.authority,
        auth_address="127.0.0.1:1",
        workspace_path=workspaces.root,
        grace_seconds=0,
    )
    server = RpcServer(settings, tokens.verifier())
    servicer = WorkspaceServicer(workspaces, PageTokens(), silence_seconds=silence_seconds)
    server.add(add_WorkspaceServiceServicer_to_server, servicer)
    port = await server.start()
    try:
        await server.set_serving(True)
        address = f"127.0.0.1:{port}"
        tls = identity("edge")
        async with open_channel(address, tls=tls, service="tools", trust_domain="parley.local") as channel:
            yield Desk(WorkspaceServiceStub(channel), tokens, workspaces.root)
    finally:
        await server.stop()


@pytest.fixture
async def desk(
    tmp_path: Path, identity: Callable[[str], TlsFiles], tokens: TokenMaker
) -> AsyncIterator[Desk]:
    workspaces = Workspaces(tmp_path / "root", None, LIMITS)
    workspaces.check()
    async with serving(workspaces, identity, tokens) as running:
        yield running


async def refused(awaitable: object) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await awaitable  # type: ignore[misc]
    return outcome(caught.value)


async def test_a_file_goes_up_and_comes_down(desk: Desk) -> None:
    data = os.urandom(200_000)
    answer = await desk.upload("data/in.bin", data[:70_000], data[70_000:])
    assert (answer.file.path, answer.file.size_bytes) == ("data/in.bin", len(data))
    file, pieces = await desk.download("data/in.bin")
    assert b"".join(pieces) == data
    assert max(len(piece) for piece in pieces) <= PIECE_BYTES
    assert file == answer.file
    assert file.change_time.seconds > 0


async def test_an_empty_file_is_a_file(desk: Desk) -> None:
    assert (await desk.upload("empty")).file.size_bytes == 0
    assert (await desk.download("empty"))[1] == []


async def test_a_file_is_replaced_unless_that_is_refused(desk: Desk) -> None:
    await desk.upload("a", b"old")
    assert await refused(desk.upload("a", b"new", exclusive=True)) == (
        grpc.StatusCode.ALREADY_EXISTS,
        "FILE_EXISTS",
    )
    await desk.upload("a", b"newer")
    assert (await desk.download("a"))[1] == [b"newer"]


async def test_files_are_listed_page_by_page(desk: Desk) -> None:
    for path in ("b", "a/2", "a/1", "c"):
        await desk.upload(path, b"x")
    first = await desk.list(page_size=3)
    assert [file.path for file in first.files] == ["a/1", "a/2", "b"]
    second = await desk.list(page_size=3, page_token=first.next_page_token)
    assert [file.path for file in second.files] == ["c"]
    assert second.next_page_token == ""
    assert first.usage == pb.WorkspaceUsage(
        used_bytes=4, limit_bytes=LIMITS.bytes, used_entries=5, limit_entries=LIMITS.entries
    )
    assert [file.path for file in (await desk.list(folder="a")).files] == ["a/1", "a/2"]


async def test_files_and_folders_are_deleted(desk: Desk) -> None:
    await desk.upload("a/b/c", b"x")
    await desk.upload("d", b"x")
    await desk.delete("d")
    await desk.delete("a")
    assert list((await desk.list()).files) == []
    assert await refused(desk.delete("a")) == (grpc.StatusCode.NOT_FOUND, "FILE_NOT_FOUND")


async def test_a_conversation_has_its_own_files(desk: Desk) -> None:
    await desk.upload("a", b"of the talk", conversation_id="talk-1")
    assert (await desk.download("a", conversation_id="talk-1"))[1] == [b"of the talk"]
    assert list((await desk.list(conversation_id="talk-2")).files) == []
    assert [file.path for file in (await desk.list()).files] == ["conversations/talk-1/a"]
    assert await refused(desk.download("a")) == (grpc.StatusCode.NOT_FOUND, "FILE_NOT_FOUND")


async def test_nobody_sees_another_s_files(desk: Desk) -> None:
    await desk.upload("a", b"mine")
    for other in ({"user_id": "bob"}, {"tenant_id": "tenant-2"}):
        metadata = desk.metadata(**other)
        assert list((await desk.list(metadata=metadata)).files) == []
        for lost in (
            desk.stub.DownloadFile(pb.DownloadFileRequest(path="a"), metadata=metadata).read(),
            desk.stub.DeleteFile(pb.DeleteFileRequest(path="a"), metadata=metadata),
        ):
            assert await refused(lost) == (grpc.StatusCode.NOT_FOUND, "FILE_NOT_FOUND")
    assert (await desk.download("a"))[1] == [b"mine"]


@pytest.mark.parametrize(
    "path", ["../x", "/etc/passwd", "a/../../x", "link", "folder/x", "fifo", "hard", "."]
)
async def test_no_path_leads_out(desk: Desk, tmp_path: Path, path: str) -> None:
    (tmp_path / "outside").mkdir()
    secret = tmp_path / "outside" / "x"
    secret.write_text("secret")
    await desk.upload("mine", b"x")
    (desk.home / "link").symlink_to(secret)
    (desk.home / "folder").symlink_to(secret.parent)
    os.link(secret, desk.home / "hard")
    os.mkfifo(desk.home / "fifo")
    assert (await refused(desk.download(path)))[1] == "PATH_NOT_ALLOWED"
    if path not in ("link", "fifo", "hard"):
        assert (await refused(desk.upload(path, b"evil")))[1] == "PATH_NOT_ALLOWED"
        assert (await refused(desk.delete(path)))[1] == "PATH_NOT_ALLOWED"
    assert secret.read_text() == "secret"
    assert [file.path for file in (await desk.list()).files] == ["mine"]


@pytest.mark.parametrize("name", ["link", "fifo", "hard"])
async def test_an_upload_never_writes_through_what_is_there(desk: Desk, tmp_path: Path, name: str) -> None:
    secret = tmp_path / "secret"
    secret.write_text("secret")
    await desk.upload("mine", b"x")
    (desk.home / "link").symlink_to(secret)
    os.link(secret, desk.home / "hard")
    os.mkfifo(desk.home / "fifo")
    await desk.upload(name, b"new")
    assert secret.read_text() == "secret"
    assert (await desk.download(name))[1] == [b"new"]


async def test_a_full_workspace_refuses_and_keeps_what_it_had(desk: Desk) -> None:
    await desk.upload("a", bytes(200_000))
    full = (grpc.StatusCode.RESOURCE_EXHAUSTED, "WORKSPACE_FULL")
    assert await refused(desk.upload("b", bytes(200_000))) == full
    assert await refused(desk.upload("b", *[bytes(100_000)] * 4)) == full
    assert [file.path for file in (await desk.list()).files] == ["a"]
    await desk.upload("a", bytes(300_000))


async def test_an_upload_that_breaks_off_leaves_nothing(desk: Desk) -> None:
    async def broken() -> AsyncIterator[pb.UploadFileRequest]:
        yield pb.UploadFileRequest(header=pb.UploadHeader(path="a"))
        yield pb.UploadFileRequest(data=b"half")
        raise RuntimeError

    call = desk.stub.UploadFile(broken(), metadata=desk.metadata())
    with pytest.raises(asyncio.CancelledError):  # what grpc makes of it
        await call
    assert list((await desk.list()).files) == []
    assert os.listdir(desk.root) == [desk.home.parent.name]  # noqa: PTH208


async def test_uploads_that_are_not_sent_keep_nobody_else_out(desk: Desk) -> None:
    gone = asyncio.Event()

    async def unsent(number: int) -> AsyncIterator[pb.UploadFileRequest]:
        yield pb.UploadFileRequest(header=pb.UploadHeader(path=f"{number}"))
        await gone.wait()

    waiting = [desk.stub.UploadFile(unsent(n), metadata=desk.metadata()) for n in range(2 * MAX_UPLOADS)]
    others = desk.metadata(user_id="bob")
    assert (await desk.upload("a", b"x", metadata=others)).file.size_bytes == 1
    gone.set()
    answers = await asyncio.gather(*waiting)
    assert {answer.file.path for answer in answers} == {f"{n}" for n in range(2 * MAX_UPLOADS)}


async def test_an_upload_that_falls_silent_is_given_up(
    tmp_path: Path, identity: Callable[[str], TlsFiles], tokens: TokenMaker
) -> None:
    workspaces = Workspaces(tmp_path / "root", None, LIMITS)
    workspaces.check()

    async def silent() -> AsyncIterator[pb.UploadFileRequest]:
        yield pb.UploadFileRequest(header=pb.UploadHeader(path="a"))
        await asyncio.Event().wait()

    async with serving(workspaces, identity, tokens, silence_seconds=0.1) as desk:
        call = desk.stub.UploadFile(silent(), metadata=desk.metadata())
        assert await refused(call) == (grpc.StatusCode.DEADLINE_EXCEEDED, "DEADLINE_EXCEEDED")


@pytest.mark.parametrize(
    "messages",
    [
        [],
        [pb.UploadFileRequest(data=b"x")],
        [pb.UploadFileRequest(header=pb.UploadHeader(path="a"))] * 2,
        [pb.UploadFileRequest(header=pb.UploadHeader(path=""))],
        [pb.UploadFileRequest()],
    ],
)
async def test_an_upload_in_disorder_is_refused(desk: Desk, messages: list[pb.UploadFileRequest]) -> None:
    assert (await refused(desk.send(messages)))[0] == grpc.StatusCode.INVALID_ARGUMENT
    assert list((await desk.list()).files) == []


async def test_the_permission_is_needed(desk: Desk) -> None:
    denied = (grpc.StatusCode.PERMISSION_DENIED, "PERMISSION_MISSING")
    metadata = desk.metadata("tools.execute")
    assert await refused(desk.list(metadata=metadata)) == denied
    assert await refused(desk.upload("a", b"x", metadata=metadata)) == denied


def handles() -> int:
    """Open files and folders; gRPC opens and closes sockets as it likes."""
    links = [link.readlink() for link in Path("/proc/self/fd").iterdir() if link.is_symlink()]
    return sum(not str(link).startswith(("socket:", "anon_inode:", "/proc")) for link in links)


async def test_no_handle_is_left_open(desk: Desk) -> None:
    await desk.upload("a", bytes(200_000))
    await desk.list()
    before = handles()
    for _ in range(3):
        await desk.upload("a", bytes(200_000))
        await desk.download("a")
        await refused(desk.download("nope"))
        await desk.list()
    assert handles() == before
