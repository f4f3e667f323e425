"""The same surface as the official JavaScript client meets it, through the real edge."""

from __future__ import annotations

import asyncio
import json
from asyncio.subprocess import PIPE
from typing import Any

from services.inference.engine.options import FormKind
from services.inference.engine.turn import ToolCall
from services.inference.errors import EngineFailed
from services.inference.reading.logprobs import TokenLogprob, TopLogprob
from services.inference.reading.step import ContentDelta, Step, StopReason, TurnEnd, TurnUsage
from tests.edge.openai.conftest import ADAPTED, EMBEDDER, JAVASCRIPT, LARGE, MARKS, MODEL, SECONDS, Surface
from tests.edge.toys import GOOD_KEY
from tests.inference.scripted import calls, says
from tests.inference.scripted_embedder import DIMENSIONS

pytestmark = MARKS

CALL = ToolCall("call-1", "weather", '{"place":"Bern"}')
LIKELIEST = (TokenLogprob(65, b"A", -0.5, (TopLogprob(65, b"A", -0.5),)),)
USED = TurnUsage(10, 2)
TWO = [
    Step((ContentDelta("{}", 0, LIKELIEST), ContentDelta("{ }", 1)), USED),
    Step((), USED, TurnEnd(StopReason.STOP), choice=0),
    Step((), USED, TurnEnd(StopReason.LENGTH), choice=1),
]
SCRIPT = (
    says("It is ", "391."),
    says("It is ", "391."),
    calls(CALL),
    calls(CALL),
    TWO,
    says(" upon a time."),
    says("Hello."),
    says("Hello."),
    [ContentDelta("One "), EngineFailed(MODEL)],
)


async def seen_by_the_client(surface: Surface) -> dict[str, Any]:
    """What the script prints."""
    environment = {
        "OPENAI_API_KEY": GOOD_KEY,
        "OPENAI_BASE_URL": f"{surface.edge.url}/v1",
        "NODE_EXTRA_CA_CERTS": str(surface.edge.settings.tls_authority_path),
        "MODEL": MODEL,
        "EMBEDDER": EMBEDDER,
    }
    process = await asyncio.create_subprocess_exec(
        "/usr/bin/env", "node", JAVASCRIPT / "conformance.mjs", env=environment, stdout=PIPE, stderr=PIPE
    )
    told, complaints = await asyncio.wait_for(process.communicate(), SECONDS)
    assert process.returncode == 0, complaints.decode()
    return dict(json.loads(told))


async def test_the_javascript_client_reads_every_kind_of_answer(surface: Surface) -> None:
    engine = surface.script(*SCRIPT)
    seen = await seen_by_the_client(surface)
    assert sorted(seen["models"]) == sorted((MODEL, LARGE, ADAPTED, EMBEDDER))
    assert seen["whole"] == ["It is 391.", 3]
    assert (seen["streamed"], seen["usage"]) == ("It is 391.", 3)
    assert seen["call"] == {"name": CALL.name, "arguments": CALL.arguments}
    assert seen["accumulated"] == CALL.arguments
    assert (seen["choices"], seen["logprob"]) == ([["{}", "stop"], ["{ }", "length"]], "A")
    assert [turn.form.kind for turn in engine.rendered if turn.form] == [FormKind.JSON_SCHEMA]
    assert seen["vectors"] == [DIMENSIONS, DIMENSIONS]
    assert (seen["completed"], seen["response"]) == (" upon a time.", "Hello.")
    assert (seen["events"][0], seen["events"][-1]) == ("response.created", "response.completed")
    assert seen["refused"] == [True, 404, "model_not_found", "model"]
    assert (seen["before"], seen["failed"]) == ("One ", ["engine_failed", "server_error"])
