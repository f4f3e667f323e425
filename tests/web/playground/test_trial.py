"""Events of a call, folded into what people see."""

from __future__ import annotations

import grpc

from parley.tools.v1 import execution_pb2
from parley_client.errors import ParleyError
from tests.web.scripted_edge import seconds, status
from tests.web.scripts import HOSTILE
from tests.web.test_markup import Reader
from web.card import CallState
from web.playground.trial import MAX_OUTPUT_CHARACTERS, Trial
from web.playground.view import trial_html


def trial_of(*events: dict[str, object]) -> Trial:
    trial = Trial("python_run")
    for event in events:
        trial.apply(execution_pb2.ToolEvent(**event), 0.0)  # type: ignore[arg-type]  # one event each
    return trial


def said(trial: Trial) -> str:
    return Reader(trial_html(trial)).text


STARTED = {"started": execution_pb2.ToolStarted(tool="python_run", queued=seconds(2))}


def test_a_call_waits_runs_and_gives_its_result() -> None:
    assert "Waiting for its turn." in said(Trial("python_run"))
    running = trial_of(STARTED, {"progress": execution_pb2.ToolProgress(message="adding", fraction=0.25)})
    assert (running.state, running.running, running.fraction) == (CallState.RUNNING, True, 0.25)
    assert "Waited 2.0 s." in said(running)
    assert "adding" in said(running)
    result = execution_pb2.ToolResult(content='{"a":1}', duration=seconds(0.5), replayed=True)
    done = trial_of(STARTED, {"result": result})
    assert (done.state, done.running) == (CallState.DONE, False)
    assert '"a": 1' in said(done)
    assert "500 ms" in said(done)
    assert "earlier call" in said(done)


def test_progress_without_a_share_has_none() -> None:
    done = {"progress": execution_pb2.ToolProgress(fraction=0.5)}
    assert trial_of(done, {"progress": execution_pb2.ToolProgress(message="x")}).fraction is None


def test_only_the_end_of_long_output_is_kept() -> None:
    piece = {"output": execution_pb2.ToolOutput(text="x" * (MAX_OUTPUT_CHARACTERS - 1))}
    trial = trial_of(piece, {"output": execution_pb2.ToolOutput(text="yz")})
    assert (len(trial.output), trial.left_out) == (MAX_OUTPUT_CHARACTERS, 1)
    assert trial.output.endswith("xyz")
    assert "1 earlier characters" in said(trial)


def test_an_error_of_the_call_and_one_of_the_stream_look_alike() -> None:
    late = status(grpc.StatusCode.DEADLINE_EXCEEDED, "It took too long.", "TOOL_TIMEOUT", tool="python_run")
    inner, outer = trial_of(STARTED, {"error": late}), trial_of(STARTED)
    outer.fail(ParleyError(grpc.StatusCode.DEADLINE_EXCEEDED, "It took too long.", reason="TOOL_TIMEOUT"), 1)
    for trial in (inner, outer):
        assert trial.state is CallState.FAILED
        assert "Ask for less at once." in said(trial)


def test_a_cancelled_call_keeps_what_was_printed() -> None:
    trial = trial_of(STARTED, {"output": execution_pb2.ToolOutput(text="so far")})
    trial.stop(1)
    assert "so far" in said(trial)
    assert "The call was ended" in said(trial)


def test_markup_stays_text() -> None:
    hostile = trial_of(
        {"progress": execution_pb2.ToolProgress(message=HOSTILE)},
        STARTED,
        {"output": execution_pb2.ToolOutput(text=HOSTILE)},
        {"result": execution_pb2.ToolResult(content=HOSTILE)},
    )
    hostile.tool = HOSTILE
    assert not {"script", "img"} & Reader(trial_html(hostile)).tags
    assert HOSTILE in said(hostile)
