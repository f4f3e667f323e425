"""Ways out of a workspace: paths, links, devices, other people's folders, and more than fits."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

from parley.tools.v1 import workspace_service_pb2
from tests.attacks.tool_stack import WORKSPACE_ENTRIES
from tests.attacks.tool_target import CANARY, OK, Deed, Outcome, ToolAttack, ToolTarget, call, planted

NOT_ALLOWED = ("PERMISSION_DENIED", "PATH_NOT_ALLOWED")
NOT_FOUND = ("NOT_FOUND", "FILE_NOT_FOUND")
FULL = ("RESOURCE_EXHAUSTED", "WORKSPACE_FULL")
INVALID = ("INVALID_ARGUMENT", "INVALID_REQUEST")
READS_AGAINST_SWAPS = 24

read = call("file_read", file_path="welcome.txt")
own_read = planted(lambda _home: None, "file_read", file_path="welcome.txt")


def written(**arguments: object) -> Deed:
    return planted(lambda _home: None, "file_write", file_path="mine.txt", content="x", **arguments)


def link_to(path: str, name: str = "trap") -> Callable[[Path], None]:
    return lambda home: (home / name).symlink_to(path)


def with_outside(plant: Callable[[Path, Path], None], tool: str, **arguments: object) -> Deed:
    """Calls a tool where something was planted that leads outside, and looks whether that is as it was."""

    async def deed(target: ToolTarget) -> Outcome:
        before = sorted(target.outside.iterdir())
        strike = planted(lambda home: plant(home, target.outside), tool, **arguments)
        outcome = await strike(target)
        assert sorted(target.outside.iterdir()) == before
        assert (target.outside / "secret.txt").read_text() == CANARY
        return outcome

    return deed


def hard_link(home: Path, outside: Path) -> None:
    os.link(outside / "secret.txt", home / "trap")


def linked_folder(home: Path, outside: Path) -> None:
    (home / "folder").symlink_to(outside)


def unix_socket(home: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        # By a short relative path: a socket's whole path may be too long.
        folder = os.open(home, os.O_RDONLY)
        listener.bind(f"/proc/self/fd/{folder}/trap")
        os.close(folder)


async def a_link_swapped_in(target: ToolTarget) -> Outcome:
    """Somebody swaps a folder for a link and back while it is read."""
    user = target.person("user")
    talk = await target.planted("user", lambda home: (home / "door").mkdir())
    home = target.workspace(user, talk)
    (home / "door" / "secret.txt").write_text("mine")
    (home / "link").symlink_to(target.outside)
    swapping = asyncio.create_task(_swap(home))
    arguments = {"file_path": "door/secret.txt"}
    calls = (target.call("file_read", arguments, conversation_id=talk) for _ in range(READS_AGAINST_SWAPS))
    outcomes = await asyncio.gather(*calls)
    swapping.cancel()
    await asyncio.gather(swapping, return_exceptions=True)
    assert not [outcome for outcome in outcomes if CANARY in outcome.told]
    (home / "last").symlink_to(target.outside)
    return await target.call("file_read", {"file_path": "last/secret.txt"}, conversation_id=talk)


async def _swap(home: Path) -> None:
    while True:
        (home / "door").rename(home / "spare")
        (home / "link").rename(home / "door")
        await asyncio.sleep(0)
        (home / "door").rename(home / "link")
        (home / "spare").rename(home / "door")
        await asyncio.sleep(0)


async def too_large(target: ToolTarget) -> Outcome:
    """Files that each may be, until all together may not."""
    who = await target.newcomer()
    for number in range(16):
        arguments = {"file_path": f"f{number}", "content": "x" * 500_000}
        outcome = await target.call("file_write", arguments, who)
        if outcome.code != OK:
            break
    return outcome


async def too_many(target: ToolTarget) -> Outcome:
    who = await target.newcomer()
    code = "for n in range(400): open(f'f{n}', 'w').close()"
    return await target.call("python_run", {"code": code, "files": []}, who)


async def moved_out_of_sight(target: ToolTarget) -> Outcome:
    """A folder of folders moved so deep that what lies in it would count for nobody's limit."""
    who = await target.newcomer()
    for letter in "ab":
        tall = {"operation": "mkdir", "path": "/".join(letter * 30), "recursive": True}
        assert (await target.call("file_manage", tall, who)).code == OK
    sunk = {"operation": "move", "path": "a", "destination": f"{'b/' * 30}a"}
    return await target.call("file_manage", sunk, who)


async def conversations_without_end(target: ToolTarget) -> Outcome:
    """Looks into one conversation after the other: each is a folder, whoever only reads."""
    who = await target.newcomer()
    for number in range(WORKSPACE_ENTRIES):
        outcome = await target.call("file_list", {}, who, conversation_id=f"talk-{number}")
        if outcome.code != OK:
            break
    return outcome


async def anothers_conversation(target: ToolTarget) -> Outcome:
    """Reads what another user of the tenant keeps under this conversation's id."""
    talk = await _with_a_secret(target)
    arguments = {"file_path": "private.txt"}
    return await target.call("file_read", arguments, "operator", conversation_id=talk)


async def another_tenants_conversation(target: ToolTarget) -> Outcome:
    talk = await _with_a_secret(target)
    return await target.call("file_read", {"file_path": "private.txt"}, "rival", conversation_id=talk)


async def a_conversation_that_is_a_path(target: ToolTarget) -> Outcome:
    talk, user = await _with_a_secret(target), target.person("user")
    path = f"../../{user.user_id}/conversations/{talk}"
    return await target.call("file_read", {"file_path": "private.txt"}, "operator", conversation_id=path)


async def own_conversation(target: ToolTarget) -> Outcome:
    talk = await _with_a_secret(target)
    return await target.call("file_read", {"file_path": "private.txt"}, conversation_id=talk)


async def _with_a_secret(target: ToolTarget) -> str:
    return await target.planted("user", lambda home: _write(home / "private.txt", CANARY[::-1]))


def _write(path: Path, text: str) -> None:
    path.write_text(text)


def upload(path: str, *pieces: bytes, who: str = "operator", **fields: bool) -> Deed:
    async def deed(target: ToolTarget) -> Outcome:
        return await target.upload(who, path, *pieces, **fields)

    return deed


def download(path: str) -> Deed:
    async def deed(target: ToolTarget) -> Outcome:
        request = workspace_service_pb2.DownloadFileRequest(path=path)
        return await target.asked(target.files.DownloadFile, request, "operator")

    return deed


async def upload_through_a_link(target: ToolTarget) -> Outcome:
    talk = await target.planted("operator", link_to(str(target.outside), "folder"))
    outcome = await target.upload("operator", "folder/new.txt", b"x", conversation_id=talk)
    assert not (target.outside / "new.txt").exists()
    return outcome


async def anothers_page(target: ToolTarget) -> Outcome:
    token = await _page_token(target, "operator")
    request = workspace_service_pb2.ListFilesRequest(page_size=1, page_token=token)
    return await target.asked(target.files.ListFiles, request, "admin")


async def own_page(target: ToolTarget) -> Outcome:
    token = await _page_token(target, "operator")
    request = workspace_service_pb2.ListFilesRequest(page_size=1, page_token=token)
    return await target.asked(target.files.ListFiles, request, "operator")


async def _page_token(target: ToolTarget, who: str) -> str:
    request = workspace_service_pb2.ListFilesRequest(page_size=1)
    first = await target.asked(target.files.ListFiles, request, who)
    return str(first.result[0].next_page_token)


async def workspace_deleted(target: ToolTarget) -> Outcome:
    request = workspace_service_pb2.DeleteFileRequest(path=".")
    return await target.asked(target.files.DeleteFile, request, "operator")


async def own_file_deleted(target: ToolTarget) -> Outcome:
    path = f"{uuid4().hex[:8]}.txt"
    await target.upload("operator", path, b"x")
    request = workspace_service_pb2.DeleteFileRequest(path=path)
    return await target.asked(target.files.DeleteFile, request, "operator")


def managed(operation: str, path: str, destination: str | None = None, **more: object) -> Deed:
    return planted(
        lambda home: (home / "box").mkdir(),
        "file_manage",
        operation=operation,
        path=path,
        destination=destination,
        **more,
    )


copied = managed("copy", "welcome.txt", "copy.txt")
searched = call("file_search", query="^W\\w+", regex=True)
uploaded = upload("up.txt", b"x")
downloaded = download("welcome.txt")

FILES = (
    ToolAttack("a path that leads upwards", call("file_read", file_path="../../x"), NOT_ALLOWED, read),
    ToolAttack("a path from the root", call("file_read", file_path="/etc/passwd"), NOT_ALLOWED, read),
    ToolAttack("a path with a NUL", call("file_read", file_path="a\0.txt"), NOT_ALLOWED, read),
    ToolAttack("a name longer than any", call("file_read", file_path="a" * 300), NOT_ALLOWED, read),
    ToolAttack(
        "a link to a file outside",
        planted(link_to("/etc/passwd"), "file_read", file_path="trap"),
        NOT_ALLOWED,
        own_read,
    ),
    ToolAttack(
        "the service's environment through a link",
        planted(link_to("/proc/self/environ"), "file_info", path="trap"),
        NOT_ALLOWED,
        planted(lambda _home: None, "file_info", path="welcome.txt"),
    ),
    ToolAttack(
        "a folder that is a link outside",
        with_outside(linked_folder, "file_read", file_path="folder/secret.txt"),
        NOT_ALLOWED,
        own_read,
    ),
    ToolAttack("a link that is swapped in", a_link_swapped_in, NOT_ALLOWED, own_read),
    ToolAttack(
        "a hard link to a file outside",
        with_outside(hard_link, "file_read", file_path="trap"),
        NOT_ALLOWED,
        own_read,
    ),
    ToolAttack(
        "a device",
        planted(lambda home: os.mknod(home / "trap", 0o20666, 0), "file_read", file_path="trap"),
        NOT_ALLOWED,
        own_read,
    ),
    ToolAttack(
        "a fifo that nobody writes to",
        planted(lambda home: os.mkfifo(home / "trap"), "file_read", file_path="trap"),
        NOT_ALLOWED,
        own_read,
    ),
    ToolAttack("a socket", planted(unix_socket, "file_read", file_path="trap"), NOT_ALLOWED, own_read),
    ToolAttack(
        "writing through a link",
        with_outside(linked_folder, "file_write", file_path="folder/new.txt", content="x"),
        NOT_ALLOWED,
        written(),
    ),
    ToolAttack(
        "appending to a hard link",
        with_outside(hard_link, "file_write", file_path="trap", content="x", mode="a"),
        NOT_ALLOWED,
        written(mode="a"),
    ),
    ToolAttack(
        "patching through a link",
        with_outside(
            linked_folder,
            "file_patch",
            file_path="folder/secret.txt",
            patch=f"--- a\n+++ b\n@@ -1 +1 @@\n-{CANARY}\n+x\n",
        ),
        NOT_ALLOWED,
        planted(
            lambda home: _write(home / "own.txt", "old\n"),
            "file_patch",
            file_path="own.txt",
            patch="--- a\n+++ b\n@@ -1 +1 @@\n-old\n+new\n",
        ),
    ),
    ToolAttack("moving a file out", managed("move", "welcome.txt", "../out.txt"), NOT_ALLOWED, copied),
    ToolAttack("a folder into itself", managed("copy", "box", "box/box"), NOT_ALLOWED, copied),
    ToolAttack(
        "listing through a link",
        with_outside(linked_folder, "file_list", directory="folder"),
        NOT_ALLOWED,
        call("file_list"),
    ),
    ToolAttack(
        "folders within folders without end",
        planted(lambda _home: None, "file_write", file_path="d/" * 400 + "x", content="x", make_folders=True),
        NOT_ALLOWED,
        written(make_folders=True),
    ),
    ToolAttack("the workspace filled", too_large, FULL, written()),
    ToolAttack("a program that leaves too many files", too_many, FULL, written()),
    ToolAttack("a tree moved out of sight", moved_out_of_sight, NOT_ALLOWED, managed("move", "box", "crate")),
    ToolAttack("conversations without end", conversations_without_end, FULL, own_conversation),
    ToolAttack("another user's conversation", anothers_conversation, NOT_FOUND, own_conversation),
    ToolAttack("another tenant's conversation", another_tenants_conversation, NOT_FOUND, own_conversation),
    ToolAttack("a conversation that is a path", a_conversation_that_is_a_path, NOT_FOUND, own_conversation),
    ToolAttack(
        "a search that takes for ever",
        planted(
            lambda home: _write(home / "a.txt", "a" * 60 + "!"),
            "file_search",
            seconds=1,
            query="(a|a)+$",
            regex=True,
            pattern="a.txt",
        ),
        ("DEADLINE_EXCEEDED", "TOOL_TIMEOUT"),
        searched,
    ),
)

UPLOADS = (
    ToolAttack("an upload that leads upwards", upload("../up.txt", b"x"), NOT_ALLOWED, uploaded),
    ToolAttack("an upload through a link", upload_through_a_link, NOT_ALLOWED, uploaded),
    ToolAttack("an upload larger than the workspace", upload("up.txt", *[bytes(2**20)] * 3), FULL, uploaded),
    ToolAttack("an upload without a header", upload("up.txt", b"x", header=False), INVALID, uploaded),
    ToolAttack(
        "an upload by who may not",
        upload("up.txt", b"x", who="user"),
        ("PERMISSION_DENIED", "PERMISSION_MISSING"),
        uploaded,
    ),
    ToolAttack("a download that leads upwards", download("../../x"), NOT_ALLOWED, downloaded),
    ToolAttack("the workspace itself deleted", workspace_deleted, NOT_ALLOWED, own_file_deleted),
    ToolAttack(
        "another user's page of files", anothers_page, ("INVALID_ARGUMENT", "PAGE_TOKEN_INVALID"), own_page
    ),
)
