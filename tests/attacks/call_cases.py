"""Calls that are not their caller's to make: names, rights, arguments, streams, keys, secrets."""

from __future__ import annotations

from uuid import uuid4

from parley.tools.v1 import tool_service_pb2
from tests.attacks.tool_stack import OPEN_CALLS, SHOWN, SHOWN_BY_A_SLIP
from tests.attacks.tool_target import (
    CANARY,
    OK,
    Deed,
    Outcome,
    ToolAttack,
    ToolTarget,
    asks,
    call,
    invocation,
)

MISSING = ("PERMISSION_DENIED", "PERMISSION_MISSING")
UNKNOWN = ("NOT_FOUND", "TOOL_NOT_FOUND")
INVALID = ("INVALID_ARGUMENT", "INVALID_REQUEST")
ARGUMENTS = ("INVALID_ARGUMENT", "INVALID_ARGUMENTS")
SUM = {"expression": "1 + 1"}

adds = call("calculator", **SUM)


def said(tool: str, text: str) -> Deed:
    """Calls a tool with arguments as they are written here."""

    async def deed(target: ToolTarget) -> Outcome:
        return await target.call(tool, text)

    return deed


async def without_a_credential(target: ToolTarget) -> Outcome:
    return await target.execute({}, invocation("calculator", SUM))


async def key_for_less(target: ToolTarget) -> Outcome:
    """A key of a user who may do more than the key."""
    headers = await target.key("user", "tools.execute", "tools.math.*")
    arguments = {"file_path": "stolen.txt", "content": "x"}
    return await target.execute(headers, invocation("file_write", arguments))


async def key_within_its_scope(target: ToolTarget) -> Outcome:
    headers = await target.key("user", "tools.execute", "tools.math.*")
    return await target.execute(headers, invocation("calculator", SUM))


async def key_for_another_source(target: ToolTarget) -> Outcome:
    """A key for the tool and one source of two."""
    return await _queried(target, "books")


async def key_for_its_source(target: ToolTarget) -> Outcome:
    return await _queried(target, "shop")


async def _queried(target: ToolTarget, source: str) -> Outcome:
    scopes = ("tools.execute", "tools.database.db_query", "tools.database.sources.shop")
    headers = await target.key("operator", *scopes)
    return await target.execute(headers, invocation("db_query", {"query": "SELECT 1", "source": source}))


def described(tool: str, who: str) -> Deed:
    async def deed(target: ToolTarget) -> Outcome:
        request = tool_service_pb2.GetToolRequest(name=tool)
        return await target.asked(target.tools.GetTool, request, who)

    return deed


def figures(who: str) -> Deed:
    async def deed(target: ToolTarget) -> Outcome:
        return await target.asked(target.tools.GetStats, tool_service_pb2.GetStatsRequest(), who)

    return deed


def forgotten_figures(who: str) -> Deed:
    async def deed(target: ToolTarget) -> Outcome:
        return await target.asked(target.tools.ResetStats, tool_service_pb2.ResetStatsRequest(), who)

    return deed


async def asked_by_a_page(target: ToolTarget) -> Outcome:
    """What a model read has it ask for a tool that its person may not use, beside one that it may."""
    injected = {"statement": "DELETE FROM lamps", "source": "shop"}
    ended = await target.many("user", [asks("calculator", SUM, "1"), asks("db_execute", injected, "2")])
    assert ended["1"].code == OK
    return ended["2"]


async def asked_by_who_may(target: ToolTarget) -> Outcome:
    harmless = {"statement": "UPDATE lamps SET sold = 3 WHERE name = 'gas'", "source": "shop"}
    return (await target.many("operator", [asks("db_execute", harmless, "1")]))["1"]


async def after_a_refusal(target: ToolTarget) -> Outcome:
    """What was to follow a refused call does not happen."""
    name = f"after-{uuid4().hex[:8]}.txt"
    write = {"file_path": name, "content": "x"}
    ended = await target.many(
        "user", [asks("env_get", {}, "first"), asks("file_write", write, "second", after=["first"])]
    )
    assert not (target.workspace(target.person("user")) / name).exists()
    return ended["second"]


async def after_its_own(target: ToolTarget) -> Outcome:
    ended = await target.many(
        "user", [asks("calculator", SUM, "1"), asks("calculator", SUM, "2", after=["1"])]
    )
    return ended["2"]


async def after_another_streams_call(target: ToolTarget) -> Outcome:
    await target.many("operator", [asks("calculator", SUM, "theirs")])
    return (await target.many("user", [asks("calculator", SUM, "2", after=["theirs"])]))["2"]


async def an_id_twice(target: ToolTarget) -> Outcome:
    ended = await target.many("user", [slow("1"), asks("file_list", {}, "1")])
    return ended["1"]


def slow(call_id: str) -> tool_service_pb2.ExecuteManyRequest:
    """A call that takes a while, so that what the stream is asked for next comes before its end."""
    code = "import threading; threading.Event().wait(1)"
    return asks("python_run", {"code": code, "files": []}, call_id)


async def more_than_a_stream_takes(target: ToolTarget) -> Outcome:
    """One call that takes a while, and all others wait for it."""
    waiting = [asks("calculator", SUM, str(number), after=["slow"]) for number in range(OPEN_CALLS)]
    ended = await target.many("user", [slow("slow"), *waiting])
    assert ended["0"].code == OK
    return ended[str(OPEN_CALLS - 1)]


async def nothing_asked(target: ToolTarget) -> Outcome:
    return (await target.many("user", [tool_service_pb2.ExecuteManyRequest()]))[""]


async def a_key_used_again(target: ToolTarget) -> Outcome:
    key = uuid4().hex
    await target.call("calculator", SUM, idempotency_key=key)
    return await target.call("calculator", {"expression": "2 + 2"}, idempotency_key=key)


async def the_same_again(target: ToolTarget) -> Outcome:
    key = uuid4().hex
    await target.call("calculator", SUM, idempotency_key=key)
    return await target.call("calculator", SUM, idempotency_key=key)


async def anothers_key(target: ToolTarget) -> Outcome:
    """The key, the tool and the arguments of another's call do not give another's result."""
    key, arguments = uuid4().hex, {"file_path": f"{uuid4().hex}.txt"}
    (target.workspace(target.person("user")) / arguments["file_path"]).write_text("private")
    first = await target.call("file_read", arguments, idempotency_key=key)
    assert first.result["content"] == "private"
    return await target.call("file_read", arguments, "operator", idempotency_key=key)


async def a_narrow_keys_replay(target: ToolTarget) -> Outcome:
    """A key that may less does not see what its user's login saw."""
    key = uuid4().hex
    await target.call("file_list", {}, idempotency_key=key)
    headers = await target.key("user", "tools.execute", "tools.math.*")
    return await target.execute(headers, invocation("file_list", {}, idempotency_key=key))


def with_time(seconds: float) -> Deed:
    return call("calculator", seconds=seconds, **SUM)


async def processes_without_secrets(target: ToolTarget) -> Outcome:
    outcome = await target.call("process_list", {}, "operator")
    assert not [word for word in (CANARY, str(target.service.pid), "--", "python") if word in outcome.told]
    return outcome


NAMES = (
    ToolAttack("no credential", without_a_credential, ("UNAUTHENTICATED", "TOKEN_MISSING"), adds),
    ToolAttack("a tool that does not exist", call("shell", command="id"), UNKNOWN, adds),
    ToolAttack("a part of a tool called by itself", call("query_sqlite", who="operator"), UNKNOWN, adds),
    ToolAttack("a tool of an MCP server that nobody added", call("mcp__files__read"), UNKNOWN, adds),
    ToolAttack("a name with look-alike letters", call("calcul\u0430tor", **SUM), INVALID, adds),
    ToolAttack("a tool beyond one's rights", call("env_get"), MISSING, call("env_get", "operator")),
    ToolAttack("a near name beyond one's rights", call("env_gett"), UNKNOWN, adds),
    ToolAttack("tools run by who only sees them", call("calculator", "viewer", **SUM), MISSING, adds),
    ToolAttack("a key that is for less", key_for_less, MISSING, key_within_its_scope),
    ToolAttack("a source beyond a key", key_for_another_source, MISSING, key_for_its_source),
    ToolAttack(
        "a tool described beyond one's rights",
        described("env_get", "user"),
        MISSING,
        described("env_get", "operator"),
    ),
    ToolAttack("others' figures read", figures("user"), MISSING, figures("operator")),
    ToolAttack("others' figures reset", forgotten_figures("user"), MISSING, forgotten_figures("rival")),
    ToolAttack("a tool that a page asked for", asked_by_a_page, MISSING, asked_by_who_may),
)

ARGUMENT_TEXTS = (
    ToolAttack("NaN", said("statistics", '{"data": [NaN]}'), ARGUMENTS, call("statistics", data=[1])),
    ToolAttack(
        "a key twice",
        said("file_read", '{"file_path": "welcome.txt", "file_path": "/etc/passwd"}'),
        ARGUMENTS,
        call("file_read", file_path="welcome.txt"),
    ),
    ToolAttack(
        "JSON without a bottom",
        said("json_query", '{"path": "a", "data": ' + "[" * 100_000 + "]" * 100_000 + "}"),
        ARGUMENTS,
        call("json_query", path="a", data={"a": [[[1]]]}),
    ),
    ToolAttack(
        "arguments larger than any",
        said("text_process", '{"operation": "hash_md5", "text": "' + "é" * 600_000 + '"}'),
        ARGUMENTS,
        call("text_process", operation="hash_md5", text="é" * 100_000),
    ),
    ToolAttack("arguments larger than a message", said("calculator", " " * 1_100_000), INVALID, adds),
    ToolAttack("half a surrogate", said("calculator", '{"expression": "\\ud800"}'), ARGUMENTS, adds),
    ToolAttack("a field beyond the schema", call("calculator", **SUM, command="id"), ARGUMENTS, adds),
    ToolAttack("a list where an object belongs", said("calculator", '["1 + 1"]'), ARGUMENTS, adds),
    ToolAttack("a number where a text belongs", call("calculator", expression=2), ARGUMENTS, adds),
    ToolAttack(
        "a number beyond 64 bits",
        call("file_read", file_path="welcome.txt", offset=2**64),
        ARGUMENTS,
        call("file_read", file_path="welcome.txt", offset=1),
    ),
    ToolAttack(
        "a number of a million digits",
        said("statistics", '{"data": [' + "9" * 1_000_000 + "]}"),
        ARGUMENTS,
        call("statistics", data=[2**60]),
    ),
)

STREAMS = (
    ToolAttack("a call id used twice", an_id_twice, ("ALREADY_EXISTS", "CALL_ID_TAKEN"), after_its_own),
    ToolAttack(
        "after a call of another stream",
        after_another_streams_call,
        ("INVALID_ARGUMENT", "PREDECESSOR_UNKNOWN"),
        after_its_own,
    ),
    ToolAttack(
        "after a call that was refused", after_a_refusal, ("ABORTED", "PREDECESSOR_FAILED"), after_its_own
    ),
    ToolAttack(
        "more calls than a stream takes",
        more_than_a_stream_takes,
        ("RESOURCE_EXHAUSTED", "OVERLOADED"),
        after_its_own,
    ),
    ToolAttack("a message that asks for nothing", nothing_asked, INVALID, after_its_own),
    ToolAttack("time that runs backwards", with_time(-1), INVALID, with_time(5)),
    ToolAttack(
        "an idempotency key with other arguments",
        a_key_used_again,
        ("INVALID_ARGUMENT", "IDEMPOTENCY_KEY_REUSED"),
        the_same_again,
    ),
    ToolAttack("another's idempotency key", anothers_key, ("NOT_FOUND", "FILE_NOT_FOUND"), the_same_again),
    ToolAttack("a result replayed to a key for less", a_narrow_keys_replay, MISSING, the_same_again),
)

MACHINE = (
    ToolAttack(
        "a variable that is not shown",
        call("env_get", "operator", var_name="PARLEY_TOOLS_DATABASE_SOURCES"),
        ("PERMISSION_DENIED", "VARIABLE_NOT_SHOWN"),
        call("env_get", "operator", var_name=SHOWN),
    ),
    ToolAttack(
        "a secret that is shown by a slip",
        call("env_get", "operator", var_name=SHOWN_BY_A_SLIP),
        ("PERMISSION_DENIED", "VARIABLE_NOT_SHOWN"),
        call("env_get", "operator"),
    ),
    ToolAttack(
        "command lines of other processes",
        call("process_list", "operator", pid=1, details=True),
        ARGUMENTS,
        processes_without_secrets,
    ),
)
