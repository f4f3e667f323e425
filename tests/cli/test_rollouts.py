"""`parley rollouts`: what it asks for, and what it shows."""

from __future__ import annotations

import json

import pytest

from parley.inference.v1 import rollout_pb2
from parley.inference.v1 import rollout_service_pb2 as pb2
from tests.cli.conftest import Run
from tests.client.toy_platform import RUN_ID, ToyPlatform

ROLLOUT = rollout_pb2.Rollout(
    name="assistant",
    rollout_id=RUN_ID,
    state=rollout_pb2.ROLLOUT_STATE_RUNNING,
    stable_variant_name="plain",
    variants=[
        rollout_pb2.RolloutVariant(name="plain", model="demo", weight=90),
        rollout_pb2.RolloutVariant(name="brief", model="demo", weight=10),
    ],
)
BACK = rollout_pb2.Rollout()
BACK.CopyFrom(ROLLOUT)
BACK.state, BACK.serving_variant_name = rollout_pb2.ROLLOUT_STATE_ROLLED_BACK, "plain"


BACK.breach.CopyFrom(
    rollout_pb2.GuardrailBreach(
        guardrail=rollout_pb2.GUARDRAIL_ERROR_RATE, variant_name="brief", value=0.25, limit=0.1, samples=60
    )
)

MEASURED = rollout_pb2.MeasuredVariant(
    variant_name="brief",
    runs=200,
    figures=[
        rollout_pb2.MeasuredFigure(
            figure=rollout_pb2.VARIANT_FIGURE_ERROR_RATE,
            value=0.05,
            samples=200,
            interval=rollout_pb2.ConfidenceInterval(low=0.02, high=0.1),
            difference=rollout_pb2.FigureDifference(
                value=0.04,
                interval=rollout_pb2.ConfidenceInterval(low=0.01, high=0.07),
                verdict=rollout_pb2.FIGURE_VERDICT_WORSE,
            ),
        ),
        rollout_pb2.MeasuredFigure(
            figure=rollout_pb2.VARIANT_FIGURE_FIRST_TOKEN_P95, value=0.25, samples=200
        ),
        rollout_pb2.MeasuredFigure(
            figure=rollout_pb2.VARIANT_FIGURE_TOKENS_PER_SECOND, value=70.5, samples=190
        ),
    ],
)


@pytest.fixture(autouse=True)
def told(toy: ToyPlatform) -> ToyPlatform:
    """The toy, which has one rollout."""
    toy.answers = {
        "CreateRollout": pb2.CreateRolloutResponse(rollout=ROLLOUT),
        "CompareRollout": pb2.CompareRolloutResponse(rollout=ROLLOUT, variants=[MEASURED]),
        "ListRollouts": pb2.ListRolloutsResponse(rollouts=[ROLLOUT]),
        "PromoteRollout": pb2.PromoteRolloutResponse(rollout=ROLLOUT),
        "RollbackRollout": pb2.RollbackRolloutResponse(rollout=BACK),
        "DeleteRollout": pb2.DeleteRolloutResponse(),
    }
    return toy


def test_they_are_a_table_or_json(parley: Run) -> None:
    lines = parley("rollouts", "list").stdout.splitlines()
    assert lines[1].split()[:8] == ["assistant", "running", "plain", "90", "%,", "brief", "10", "%"]
    assert json.loads(parley("rollouts", "list", "--json").stdout)[0]["name"] == "assistant"


def test_a_rollout_is_described_on_the_command_line(parley: Run, toy: ToyPlatform) -> None:
    options = (
        "--variant",
        "plain=org/demo:1@90",
        "--variant",
        "brief=demo@10",
        "--prompt",
        "brief=Be = brief.",
    )
    sampling = ("--sampling", "brief.temperature=0.5", "--sampling", "brief.top_k=3")
    guards = ("--guard", "error-rate=0.25", "--guard", "first-token-p95=1.5", "--window-minutes", "5")
    shadow = ("--shadow", "brief=25")
    shown = parley("rollouts", "create", "assistant", *options, *sampling, *guards, *shadow).stdout
    assert shown.splitlines()[0] == "assistant: running"
    (asked,) = toy.requests
    held = asked.guardrails
    assert (held.max_error_rate, held.max_first_token_p95.ToMilliseconds()) == (0.25, 1500)
    assert (held.window.seconds, held.HasField("min_samples")) == (300, False)
    plain, brief = asked.variants
    assert (plain.name, plain.model, plain.weight) == ("plain", "org/demo:1", 90)
    assert (plain.shadow_percent, brief.shadow_percent) == (0, 25)
    assert (brief.system_prompt, brief.sampling.temperature, brief.sampling.top_k) == ("Be = brief.", 0.5, 3)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--variant", "plain=demo"), "NAME=MODEL@PERCENT"),
        (("--variant", "a=demo@100", "--prompt", "b=Hi"), "no variant 'b'"),
        (("--variant", "a=demo@100", "--sampling", "a.heat=1"), "have no heat"),
        (("--variant", "a=demo@100", "--sampling", "a.top_k=1.5"), "no number that top_k takes"),
        (("--variant", "a=demo@100", "--guard", "luck=1"), "not held to luck"),
    ],
    ids=["variant", "whose prompt", "field", "number", "guard"],
)
def test_what_is_written_wrongly_is_told_before_anything_is_asked(
    parley: Run, toy: ToyPlatform, options: tuple[str, ...], said: str
) -> None:
    result = parley("rollouts", "create", "assistant", *options)
    assert (result.exit_code, len(toy.requests)) == (1, 0)
    assert said in result.stderr


def test_a_rollout_that_is_over_gives_everybody_one_variant(parley: Run) -> None:
    lines = parley("rollouts", "rollback", "assistant").stdout.splitlines()
    assert lines[:2] == [
        "assistant: rolled back",
        "Rolled back by itself: brief had error rate 0.25, limit 0.1, of 60 samples.",
    ]
    assert [line.split()[:3] for line in lines[3:]] == [["plain", "demo", "100"], ["brief", "demo", "0"]]


@pytest.mark.parametrize("arguments", [("status",), ("promote",), ("delete",)], ids=lambda each: each[0])
def test_each_names_its_alias(parley: Run, toy: ToyPlatform, arguments: tuple[str, ...]) -> None:
    assert "assistant" in parley("rollouts", *arguments, "assistant").stdout
    assert toy.requests[0].name == "assistant"


def test_variants_are_compared(parley: Run) -> None:
    lines = parley("rollouts", "status", "assistant").stdout.splitlines()
    rows = [" ".join(line.split()) for line in lines[lines.index("") + 2 :]]
    assert rows == [
        "brief error rate 5.0 % 2.0 % … 10.0 % 200 +4.0 % (1.0 % … 7.0 %) worse",
        "brief first token p95 0.250 s 200",
        "brief tokens per second 70.5/s 190",
    ]
    assert (
        json.loads(parley("rollouts", "status", "assistant", "--json").stdout)["variants"][0]["runs"] == "200"
    )
