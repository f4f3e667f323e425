"""The worker's side of the pipe, in this process; `test_workers` runs it for real."""

from __future__ import annotations

import io
import json
from dataclasses import asdict

import pytest

from services.tools.frames import FrameInvalid, Kind, pack, pack_json, read, unpack_header
from services.tools.worker import find_tool, serve
from services.tools.workspace import Workspaces


def call(name: str, workspaces: Workspaces, arguments: str = "{}") -> bytes:
    return pack_json(
        Kind.CALL,
        {
            "tool": f"tests.tools.sample_tools:{name}",
            "arguments": arguments,
            "tenant": "t",
            "user": "u",
            "conversation": "",
            "root": str(workspaces.root),
            "limits": asdict(workspaces.limits),
            "template": str(workspaces.template),
        },
    )


def answers(*calls: bytes) -> list[tuple[Kind, str]]:
    """What the worker says to these calls."""
    sink = io.BytesIO()
    serve(io.BytesIO(b"".join(calls)), sink)
    sink.seek(0)
    said = []
    while (frame := read(sink)) is not None:
        said.append((frame[0], frame[1].decode()))
    return said


def test_it_is_ready_and_answers_one_call_after_the_other(workspaces: Workspaces) -> None:
    said = answers(call("echo", workspaces, '{"text": "a"}'), call("echo", workspaces, '{"text": "b"}'))
    assert said == [(Kind.READY, ""), (Kind.RESULT, '{"text":"a"}'), (Kind.RESULT, '{"text":"b"}')]


def test_it_says_how_far_it_is(workspaces: Workspaces) -> None:
    said = answers(call("stepping", workspaces, '{"steps": 1}'))
    assert said[1] == (Kind.PROGRESS, '{"message":"step 0","fraction":0.0}')
    assert said[2] == (Kind.OUTPUT, "0\n")


def test_a_typed_error_keeps_its_type(workspaces: Workspaces) -> None:
    [_, (kind, text)] = answers(call("failing", workspaces))
    assert kind is Kind.ERROR
    assert json.loads(text) == {
        "domain": "tools.parley",
        "reason": 3,
        "message": "The disk is on fire.",
        "metadata": {"tool": "failing"},
        "retry_seconds": None,
    }


def test_a_fault_of_the_tool_is_told_with_its_traceback(workspaces: Workspaces) -> None:
    [_, (kind, text)] = answers(call("broken", workspaces))
    assert kind is Kind.CRASH
    assert text.startswith("Traceback")


def test_a_tool_finds_its_owner_s_workspace(workspaces: Workspaces) -> None:
    workspaces.check()
    assert answers(call("owning", workspaces))[1] == (Kind.RESULT, '{"text":"notes welcome.txt"}')


def test_only_tools_are_run() -> None:
    with pytest.raises(TypeError, match="os:system is no tool"):
        find_tool("os:system")


@pytest.mark.parametrize("data", [b"C\0\0", b"C\0\0\0\x05abc", b"?\0\0\0\0", b"C\xff\xff\xff\xff"])
def test_a_frame_that_makes_no_sense_is_refused(data: bytes) -> None:
    with pytest.raises(FrameInvalid):
        read(io.BytesIO(data))


def test_a_frame_is_read_as_it_was_written() -> None:
    assert read(io.BytesIO(pack(Kind.OUTPUT, b"abc"))) == (Kind.OUTPUT, b"abc")
    assert read(io.BytesIO()) is None
    assert unpack_header(pack(Kind.RESULT, b"abc")[:5], 3) == (Kind.RESULT, 3)
