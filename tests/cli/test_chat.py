import json
from pathlib import Path
from typing import Any

import pytest
from google.rpc import code_pb2

from parley.inference.v1 import answer_pb2, chat_pb2, message_pb2
from parley.inference.v1.inference_service_pb2 import DecideApprovalRequest
from tests.cli.conftest import Run
from tests.client.toy_answers import approved_answer
from tests.client.toy_platform import RUN_ID, ToyPlatform, calculator_answer, failure


def test_an_answer_shows_reasoning_the_call_its_result_and_the_text(parley: Run, toy: ToyPlatform) -> None:
    result = parley("chat", "What is 17 * 23?")
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines() == [
        "It needs a calculator.",
        '→ calculator {"expression": "17 * 23"}',
        "  50% half",
        '← {"result":391} (3 ms)',
        "17 * 23 is 391.",
    ]
    assert toy.metadata["authorization"] == "Bearer of-pk_toy"


def test_options_reach_the_request(parley: Run, toy: ToyPlatform) -> None:
    result = parley(
        "chat", "Hi", "--model", "m", "--no-tools", "--no-reasoning", "--max-tool-rounds", "2", "--usage"
    )
    request = toy.requests[0]
    assert (request.model, request.server_tools.all) == ("m", False)
    assert request.reasoning.HasField("enabled")
    assert not request.reasoning.enabled
    assert request.limits.max_tool_rounds == 2
    assert "It needs" not in result.stdout
    assert "30 prompt tokens, 12 generated, 2 turns" in result.stdout


def test_the_first_question_brings_the_images(parley: Run, toy: ToyPlatform, tmp_path: Path) -> None:
    (tmp_path / "a.gif").write_bytes(b"GIF89a")
    (tmp_path / "b.txt").write_bytes(b"text")
    given = ["--image", str(tmp_path / "a.gif"), "--image", str(tmp_path / "a.gif")]
    assert parley("chat", *given, stdin="What is this?\nAnd then?\n").exit_code == 0
    first, second = toy.requests
    assert [part.image.media_type for part in first.messages[0].content] == ["image/gif", "image/gif", ""]
    assert [len(each.content) for each in second.messages if each.role == message_pb2.ROLE_USER] == [3, 1]
    refused = parley("chat", "What?", "--image", str(tmp_path / "b.txt"))
    assert refused.exit_code == 1
    assert "is no GIF, JPEG, PNG or WebP" in refused.stderr.replace("\n", " ")
    assert "cannot be read" in parley("chat", "What?", "--image", str(tmp_path / "none.png")).stderr


def test_scripts_get_a_line_of_json_per_event(parley: Run, toy: ToyPlatform) -> None:
    result = parley("chat", "Hi", "--json")
    events = [json.loads(line) for line in result.stdout.splitlines()]
    assert len(events) == len(toy.events)
    assert events[0]["started"]["model"] == "toy"
    assert events[-1] == {"sequence": "11", "finished": {"reason": "FINISH_REASON_STOP"}}


def test_a_question_may_come_from_a_pipe(parley: Run, toy: ToyPlatform) -> None:
    assert parley("chat", "-", stdin="How are you?").exit_code == 0
    assert toy.requests[0].messages[0].content[0].text == "How are you?"


def test_a_prompt_builds_on_what_was_said_until_it_is_forgotten(parley: Run, toy: ToyPlatform) -> None:
    result = parley("chat", stdin="one\n\ntwo\n/new\nthree\n")
    assert result.exit_code == 0, result.output
    assert [len(request.messages) for request in toy.requests] == [1, 5, 1]
    assert toy.requests[1].messages[3].content[0].text == "17 * 23 is 391."


def test_a_failed_answer_does_not_end_the_prompt(parley: Run, toy: ToyPlatform) -> None:
    toy.failures["Chat"] = failure(code_pb2.UNAVAILABLE, "ENGINE_FAILED", "The engine failed.", model="toy")
    result = parley("chat", stdin="one\ntwo\n")
    assert result.exit_code == 0
    assert result.stderr.count("ENGINE_FAILED: The engine failed.") == 2


def test_a_run_that_fails_midway_says_why_and_exits_with_1(parley: Run, toy: ToyPlatform) -> None:
    error = failure(code_pb2.ABORTED, "OUTPUT_UNPARSEABLE", "The model spoke in riddles.", model="toy")
    finished = chat_pb2.ChatFinished(reason=chat_pb2.FINISH_REASON_ERROR, error=error)
    toy.events = [*calculator_answer()[:2], chat_pb2.ChatEvent(finished=finished)]
    for arguments in (["chat", "Hi"], ["chat", "Hi", "--json"]):
        result = parley(*arguments)
        assert result.exit_code == 1
        assert result.stderr == "OUTPUT_UNPARSEABLE: The model spoke in riddles.\n"


def test_an_answer_cut_short_says_so(parley: Run, toy: ToyPlatform) -> None:
    finished = chat_pb2.ChatFinished(reason=chat_pb2.FINISH_REASON_LENGTH)
    toy.events = [*calculator_answer()[:-1], chat_pb2.ChatEvent(finished=finished)]
    assert "Ended early: LENGTH." in parley("chat", "Hi").stdout


def test_a_failed_tool_is_shown_and_the_answer_goes_on(parley: Run, toy: ToyPlatform) -> None:
    events = calculator_answer()
    error = failure(code_pb2.NOT_FOUND, "FILE_NOT_FOUND", "There is no file.", path="x")
    events[6].tool_result.error.CopyFrom(error)
    toy.events = events
    result = parley("chat", "Hi")
    assert "✗ FILE_NOT_FOUND: There is no file. (3 ms)" in result.stdout
    assert result.exit_code == 0


def test_long_reasoning_and_results_are_folded(parley: Run, toy: ToyPlatform) -> None:
    events = calculator_answer()
    events[1].reasoning_delta.text = "hm " * 300
    events[6].tool_result.content = "x" * 2000
    toy.events = events
    lines = parley("chat", "Hi").stdout.splitlines()
    assert lines[0].endswith("…")
    assert "calculator" not in lines[0]
    assert any(line.startswith("← xxx") and "…" in line and len(line) < 600 for line in lines)


def test_markup_in_an_answer_is_text(parley: Run, toy: ToyPlatform) -> None:
    toy.events = calculator_answer("[bold]not bold[/bold]")
    assert "[bold]not bold[/bold]" in parley("chat", "Hi").stdout


def test_nobody_listening_is_one_line_and_exit_status_3(alone: Run) -> None:
    result = alone("chat", "Hi", PARLEY_API_KEY="pk_toy", PARLEY_ADDRESS="127.0.0.1:1")
    assert result.exit_code == 3
    assert result.stderr.startswith("UNAVAILABLE: ")
    assert result.stderr.count("\n") == 1


def test_nobody_logged_in_is_one_line_and_exit_status_4(parley: Run) -> None:
    result = parley("chat", "Hi", PARLEY_API_KEY="")
    assert result.exit_code == 4
    assert "Run `parley login`, or set PARLEY_API_KEY." in result.stderr


def decisions(toy: ToyPlatform) -> list[Any]:
    return [request for request in toy.requests if isinstance(request, DecideApprovalRequest)]


@pytest.mark.parametrize(
    ("typed", "verdict"),
    [
        ("y\n", answer_pb2.APPROVAL_VERDICT_APPROVE),
        ("Yes\n", answer_pb2.APPROVAL_VERDICT_APPROVE),
        ("n\n", answer_pb2.APPROVAL_VERDICT_DENY),
        ("\n", answer_pb2.APPROVAL_VERDICT_DENY),
        ("", answer_pb2.APPROVAL_VERDICT_DENY),
    ],
)
def test_a_call_that_needs_approval_is_asked_about(
    parley: Run, toy: ToyPlatform, typed: str, verdict: int
) -> None:
    toy.events = approved_answer()
    result = parley("chat", "Hi", "--approve", "ask", stdin=typed)
    assert result.exit_code == 0, result.output
    assert toy.requests[0].approvals.policy == chat_pb2.APPROVAL_POLICY_ASK
    (decided,) = decisions(toy)
    assert (decided.run_id, decided.decision.call_id) == (RUN_ID, "c1")
    assert decided.decision.verdict == verdict
    assert "Run python_run? [y/N]" in result.stderr
    assert result.stdout.splitlines() == [
        '→ python_run {"code": "1"}',
        "? python_run needs approval",
        "  denied: No.",
    ]


def test_without_a_terminal_dangerous_calls_are_denied_unless_told_otherwise(
    parley: Run, toy: ToyPlatform
) -> None:
    assert parley("chat", "Hi").exit_code == 0
    assert parley("chat", "Hi", "--approve", "deny").exit_code == 0
    assert [request.approvals.policy for request in toy.requests] == [chat_pb2.APPROVAL_POLICY_DENY] * 2


def test_a_decision_that_comes_too_late_does_not_end_the_answer(parley: Run, toy: ToyPlatform) -> None:
    toy.events = approved_answer()
    late = failure(code_pb2.FAILED_PRECONDITION, "CALL_NOT_WAITING", "It lapsed.", run_id=RUN_ID)
    toy.failures["DecideApproval"] = late
    result = parley("chat", "Hi", "--approve", "ask", stdin="y\n")
    assert result.exit_code == 0
    assert "CALL_NOT_WAITING: It lapsed." in result.stderr


def test_a_result_that_was_cut_says_so(parley: Run, toy: ToyPlatform) -> None:
    toy.events[6].tool_result.omitted_bytes = 1234
    assert '← {"result":391} (1234 bytes left out) (3 ms)' in parley("chat", "Hi").stdout
