"""`parley adapters`: what it asks for, and what it shows."""

from __future__ import annotations

import json

from parley.inference.v1 import adapter_service_pb2 as pb2
from tests.cli.conftest import Run
from tests.client.toy_platform import ToyPlatform

POLITE = pb2.Adapter(
    adapter="polite",
    base_model="demo",
    model="demo:polite",
    state=pb2.ADAPTER_STATE_READY,
    revision="0123456789abcdef",
    rank=8,
    running_runs=2,
)
BRIEF = pb2.Adapter(adapter="brief", model="demo:brief", state=pb2.ADAPTER_STATE_AVAILABLE)


def test_they_are_a_table_or_json(parley: Run, toy: ToyPlatform) -> None:
    toy.answers = {"ListAdapters": pb2.ListAdaptersResponse(adapters=[BRIEF, POLITE])}
    lines = parley("adapters", "list").stdout.splitlines()
    assert [line.split() for line in lines[1:]] == [
        ["brief", "demo:brief", "available", "0"],
        ["polite", "demo:polite", "ready", "8", "0123456789abcdef", "2"],
    ]
    assert json.loads(parley("adapters", "list", "--json").stdout)[1]["model"] == "demo:polite"


def test_one_is_loaded_in_its_base_models_pool(parley: Run, toy: ToyPlatform) -> None:
    toy.answers = {"LoadAdapter": pb2.LoadAdapterResponse(adapter=POLITE)}
    shown = parley("adapters", "load", "polite", "--model", "demo").stdout
    assert shown == "Loaded; ask for the model demo:polite.\n"
    assert toy.requests == [pb2.LoadAdapterRequest(base_model="demo", adapter="polite")]
    assert toy.metadata["parley-model"] == "demo"


def test_one_is_unloaded_when_its_runs_are_over(parley: Run, toy: ToyPlatform) -> None:
    toy.answers = {"UnloadAdapter": pb2.UnloadAdapterResponse(running_runs=2)}
    shown = parley("adapters", "unload", "polite").stdout
    assert shown == "Unloaded. 2 runs that it answers go on to their end.\n"
    assert toy.requests == [pb2.UnloadAdapterRequest(adapter="polite")]
