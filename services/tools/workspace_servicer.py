"""`parley.tools.v1.WorkspaceService`."""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial
from typing import IO, Any, TypeVar

import grpc

from parley.tools.v1 import workspace_service_pb2
from parley.tools.v1.workspace_service_pb2_grpc import WorkspaceServiceServicer
from services.rpc.call import current_principal
from services.rpc.errors import DeadlineExceeded, InvalidRequest
from services.rpc.pages import PageTokens, page_size
from services.tools.beneath import Folder
from services.tools.changing import make_folder, put, remove
from services.tools.errors import FileMissing, PathNotAllowed, WorkspaceFull
from services.tools.room import MAX_DEPTH
from services.tools.turns import Turns
from services.tools.workspace import Owner, Workspaces

MAX_UPLOADS = 16
MAX_UPLOADS_PER_CALLER = 4
MAX_WAITING_UPLOADS_PER_CALLER = 64
SILENCE_SECONDS = 30.0
"""Time between two pieces of an upload: a caller who says nothing more keeps no place."""
PIECE_BYTES = 64 * 2**10

Context = grpc.aio.ServicerContext[Any, Any]
T = TypeVar("T")


class WorkspaceServicer(WorkspaceServiceServicer):
    """Gives callers the files that their tools see."""

    def __init__(
        self, workspaces: Workspaces, page_tokens: PageTokens, *, silence_seconds: float = SILENCE_SECONDS
    ) -> None:
        """Serve these workspaces, and wait so long for each piece of an upload."""
        self._workspaces = workspaces
        self._page_tokens = page_tokens
        self._silence_seconds = silence_seconds
        self._uploads = Turns(
            running=MAX_UPLOADS,
            running_per_caller=MAX_UPLOADS_PER_CALLER,
            waiting_per_caller=MAX_WAITING_UPLOADS_PER_CALLER,
        )

    async def UploadFile(
        self, requests: AsyncIterator[workspace_service_pb2.UploadFileRequest], context: Context
    ) -> workspace_service_pb2.UploadFileResponse:
        """See the contract."""
        requests = self._heard(requests)
        first = await anext(requests, None)
        if first is None or not first.HasField("header"):
            raise InvalidRequest("The first message of an upload is its header.")
        header = first.header
        owner = _owner(header.conversation_id)
        # Beside the workspaces, so that a slow caller holds no lock; without a name, so that it never stays.
        async with self._uploads.turn((owner.tenant_id, owner.user_id)):
            with tempfile.TemporaryFile(dir=self._workspaces.root) as spool:
                await self._receive(requests, spool)
                file = await _blocking(lambda: self._store(owner, header, spool))
        return workspace_service_pb2.UploadFileResponse(file=file)

    async def DownloadFile(
        self, request: workspace_service_pb2.DownloadFileRequest, context: Context
    ) -> AsyncIterator[workspace_service_pb2.DownloadFileResponse]:
        """See the contract."""
        owner = _owner(request.conversation_id)
        with await _blocking(lambda: self._open(owner, request.path)) as file:
            status = os.fstat(file.fileno())
            yield workspace_service_pb2.DownloadFileResponse(file=_file(request.path, status))
            left = status.st_size  # It may grow meanwhile; what was promised is sent.
            while left and (data := await _blocking(partial(file.read, min(PIECE_BYTES, left)))):
                left -= len(data)
                yield workspace_service_pb2.DownloadFileResponse(data=data)

    async def ListFiles(
        self, request: workspace_service_pb2.ListFilesRequest, context: Context
    ) -> workspace_service_pb2.ListFilesResponse:
        """See the contract."""
        user = current_principal().user_id
        owner = _owner(request.conversation_id)
        after = self._page_tokens.decode(request.page_token, request, user)
        size = page_size(request.page_size)
        files = await _blocking(lambda: self._list(owner, request.folder or ".", after))
        response = workspace_service_pb2.ListFilesResponse(files=files[:size])
        if len(files) > size:
            response.next_page_token = self._page_tokens.encode(files[size - 1].path, request, user)
        usage, limits = await _blocking(lambda: self._workspaces.usage(owner)), self._workspaces.limits
        response.usage.used_bytes, response.usage.limit_bytes = usage.bytes, limits.bytes
        response.usage.used_entries, response.usage.limit_entries = usage.entries, limits.entries
        return response

    async def DeleteFile(
        self, request: workspace_service_pb2.DeleteFileRequest, context: Context
    ) -> workspace_service_pb2.DeleteFileResponse:
        """See the contract."""
        owner = _owner(request.conversation_id)
        await _blocking(lambda: self._delete(owner, request.path))
        return workspace_service_pb2.DeleteFileResponse()

    async def _receive(
        self, requests: AsyncIterator[workspace_service_pb2.UploadFileRequest], spool: IO[bytes]
    ) -> None:
        """Take the file's bytes, as many as any workspace could hold."""
        limits = self._workspaces.limits
        size = 0
        async for request in requests:
            if not request.HasField("data"):
                raise InvalidRequest("Only the first message of an upload is a header.")
            size += len(request.data)
            if size > limits.bytes:
                raise WorkspaceFull(limits.bytes, limits.entries)
            await _blocking(partial(spool.write, request.data))

    async def _heard(
        self, requests: AsyncIterator[workspace_service_pb2.UploadFileRequest]
    ) -> AsyncIterator[workspace_service_pb2.UploadFileRequest]:
        """What the caller says, as long as something comes.

        Raises:
            DeadlineExceeded: Nothing came for too long.
        """
        while True:
            try:
                async with asyncio.timeout(self._silence_seconds):
                    request = await anext(requests, None)
            except TimeoutError:
                raise DeadlineExceeded("The upload was given up: nothing more of it came.") from None
            if request is None:
                return
            yield request

    def _store(
        self, owner: Owner, header: workspace_service_pb2.UploadHeader, spool: IO[bytes]
    ) -> workspace_service_pb2.WorkspaceFile:
        def fill(made: int) -> None:
            spool.seek(0)
            with os.fdopen(os.dup(made), "wb") as target:
                shutil.copyfileobj(spool, target)

        with self._workspaces.writing(owner) as workspace:
            above = header.path.rpartition("/")[0]
            if above.strip("/"):
                make_folder(workspace, above, parents=True)
            put(workspace, header.path, fill, replace=not header.exclusive)
            return _file(header.path, workspace.status(header.path))

    def _open(self, owner: Owner, path: str) -> IO[bytes]:
        with self._workspaces.open(owner) as workspace:
            return os.fdopen(workspace.file(path), "rb", buffering=0)

    def _list(self, owner: Owner, folder: str, after: str) -> list[workspace_service_pb2.WorkspaceFile]:
        prefix = "" if folder == "." else folder.rstrip("/") + "/"
        with self._workspaces.open(owner) as workspace, workspace.folder(folder) as top:
            found = sorted(_below(top, prefix), key=lambda each: each[0])
        return [_file(path, status) for path, status in found if path > after]

    def _delete(self, owner: Owner, path: str) -> None:
        with self._workspaces.writing(owner) as workspace:
            remove(workspace, path, recursive=True)


def _owner(conversation_id: str) -> Owner:
    principal = current_principal()
    return Owner(principal.tenant_id, principal.user_id, conversation_id)


def _below(folder: Folder, prefix: str, depth: int = 1) -> Iterator[tuple[str, os.stat_result]]:
    """The plain files in a folder and below it."""
    for entry in folder.entries():
        try:
            if not entry.is_folder:
                yield prefix + entry.name, folder.status(entry.name)
            elif depth < MAX_DEPTH:
                with folder.folder(entry.name) as below:
                    yield from _below(below, f"{prefix}{entry.name}/", depth + 1)
        except (FileMissing, PathNotAllowed):
            continue  # It vanished meanwhile, or is nothing that tools see.


def _file(path: str, status: os.stat_result) -> workspace_service_pb2.WorkspaceFile:
    file = workspace_service_pb2.WorkspaceFile(path=path, size_bytes=status.st_size)
    file.change_time.FromNanoseconds(status.st_mtime_ns)
    return file


async def _blocking(work: Callable[[], T]) -> T:
    """Do work that blocks. A thread cannot be cancelled, and uses what is open here: its end is awaited."""
    task = asyncio.create_task(asyncio.to_thread(work))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait((task,))
        raise
