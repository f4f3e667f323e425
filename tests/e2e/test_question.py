"""One question through the whole path, as each kind of client asks it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from parley.inference.v1 import chat_pb2
from parley_client.client import Client, question
from tests.platform import Stack

pytestmark = pytest.mark.slow

QUESTION = "What is 17 * 23?"
BUF = str(Path(sys.executable).parent / "buf")


async def ask(client: Client, request: chat_pb2.ChatRequest) -> list[chat_pb2.ChatEvent]:
    async with client.chat(request, timeout_seconds=120) as events:
        return [event async for event in events]


def kinds(events: list[chat_pb2.ChatEvent]) -> list[str]:
    """The kinds of event in order, runs of the same kind as one."""
    names = [event.WhichOneof("event") or "" for event in events]
    return [name for index, name in enumerate(names) if index == 0 or names[index - 1] != name]


async def test_a_question_that_needs_a_tool_is_answered_from_its_result(program: Client) -> None:
    events = await ask(program, question(QUESTION))
    call = next(event.tool_call.call for event in events if event.HasField("tool_call"))
    result = next(event.tool_result for event in events if event.HasField("tool_result"))
    answer = "".join(event.content_delta.text for event in events)
    assert (call.name, json.loads(call.arguments)) == ("calculator", {"expression": "17 * 23"})
    assert json.loads(result.content)["result"] == 391
    assert "391" in answer


async def test_events_are_numbered_and_end_typed(program: Client) -> None:
    events = await ask(program, question(QUESTION))
    assert [event.sequence for event in events] == list(range(1, len(events) + 1))
    assert (kinds(events)[0], kinds(events)[-1]) == ("started", "finished")
    assert events[-1].finished.reason == chat_pb2.FINISH_REASON_STOP
    assert events[-2].usage.turns == 2
    assert events[-2].usage.completion_tokens > 0


async def test_two_tools_run_in_one_turn(program: Client) -> None:
    events = await ask(program, question("What is 12 * 12, and what time is it in Paris?"))
    calls = [event.tool_call for event in events if event.HasField("tool_call")]
    assert sorted(call.call.name for call in calls) == ["calculator", "time_now"]
    assert {call.round for call in calls} == {1}
    assert "144" in "".join(event.content_delta.text for event in events)


async def test_a_file_of_the_workspace_is_read(program: Client) -> None:
    events = await ask(program, question("Read the file welcome.txt"))
    result = next(event.tool_result for event in events if event.HasField("tool_result"))
    assert "Parley" in json.loads(result.content)["content"]


async def test_a_greeting_needs_no_tool(program: Client) -> None:
    events = await ask(program, question("Hello!"))
    assert "tool_call" not in kinds(events)
    assert "".join(event.content_delta.text for event in events)


def test_the_command_streams_the_answer(stack: Stack) -> None:
    result = stack.parley("chat", QUESTION)
    assert result.returncode == 0, result.stderr
    assert "calculator" in result.stdout
    assert "391" in result.stdout


async def test_the_json_surface_streams_the_same_events(stack: Stack, key: str) -> None:
    body = {
        "messages": [{"role": "ROLE_USER", "content": [{"text": QUESTION}]}],
        "serverTools": {"all": True},
    }
    async with stack.http() as http:
        answer = await http.post("/api/v1/chat", json=body, headers={"x-api-key": key})
    assert answer.status_code == 200, answer.text
    assert '"finished"' in answer.text
    assert "391" in answer.text


async def test_the_json_surface_answers_unary_methods(stack: Stack, key: str) -> None:
    async with stack.http() as http:
        models = await http.get("/api/v1/models", headers={"authorization": f"Bearer {key}"})
        tools = await http.get("/api/v1/tools?category=CATEGORY_MATH", headers={"x-api-key": key})
    assert [model["isDefault"] for model in models.json()["models"]] == [True]
    assert {"calculator", "statistics"} <= {tool["name"] for tool in tools.json()["tools"]}


def buf_curl(stack: Stack, key: str, *arguments: str) -> str:
    authority = str(stack.home.authority_path)
    secret = f"authorization: Bearer {key}"
    command = [
        BUF,
        "curl",
        "--cacert",
        authority,
        "--protocol",
        "grpc",
        "-H",
        secret,
        "--reflect-header",
        secret,
    ]
    result = subprocess.run([*command, *arguments], capture_output=True, text=True, timeout=120, check=False)
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_operators_list_and_call_methods_through_reflection(stack: Stack, key: str) -> None:
    listed = buf_curl(stack, key, "--list-methods", f"https://{stack.address}")
    body = json.dumps(
        {"messages": [{"role": "ROLE_USER", "content": [{"text": QUESTION}]}], "serverTools": {"all": True}}
    )
    url = f"https://{stack.address}/parley.inference.v1.InferenceService/Chat"
    called = buf_curl(stack, key, "-d", body, url)
    assert "parley.tools.v1.ToolService/ExecuteMany" in listed
    assert "parley.auth.v1.KeyService/CreateKey" in listed
    assert '"finished"' in called
    assert "391" in called


async def test_the_page_is_at_the_root(stack: Stack) -> None:
    async with stack.http(follow_redirects=True) as http:
        page = await http.get("/")
    assert page.status_code == 200
    assert "Parley" in page.text


async def test_load_balancers_see_health_without_a_token(stack: Stack) -> None:
    async with stack.http() as http:
        assert (await http.get("/healthz")).status_code == 200


def test_status_shows_every_process(stack: Stack) -> None:
    result = stack.parley("status", "--json")
    assert result.returncode == 0, result.stderr
    text = result.stdout
    assert all(name in text for name in ("store", "cache", "auth", "tools", "inference", "web", "edge"))
