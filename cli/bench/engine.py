"""The baseline of `parley bench`: the engine alone, in one process, on the platform's own settings.

Reads a line of JSON per round from stdin, `{"streams": 16, "tokens": 128}`, and
answers with a line that holds the round. Everything else goes to stderr.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import AsyncIterator
from functools import partial
from typing import IO

import uvloop

from cli.bench.load import Chunk, measure
from cli.bench.prompts import bench_question
from services.inference.settings import EngineSettings
from services.inference.turn import Message, Role, Turn
from services.inference.vllm_engine import VllmEngine
from services.inference.vllm_rendering import Rendered
from services.inference.vllm_start import build_llm


async def serve(settings: EngineSettings, answers: IO[str]) -> None:
    """Loads the engine, says so with an empty line, and measures round after round."""
    llm = build_llm(settings)
    engine = VllmEngine(llm, settings)
    defaults = llm.model_config.get_diff_sampling_param()
    requests = 0

    def open_stream(tokens: int, number: int) -> AsyncIterator[Chunk]:
        nonlocal requests
        requests += 1
        rendered = prompts[number]
        sampling = rendered.request.to_sampling_params(tokens, defaults)
        return _chunks(llm.generate(rendered.inputs, sampling, f"bench-{requests}"))

    print(file=answers, flush=True)
    for line in sys.stdin:
        order = json.loads(line)
        prompts = [await _render(engine, number) for number in range(order["streams"])]
        done = await measure(order["streams"], partial(open_stream, order["tokens"]))
        print(json.dumps(done.fields()), file=answers, flush=True)
    await engine.close()


async def _render(engine: VllmEngine, number: int) -> Rendered:
    prompt = await engine.render(Turn((Message(Role.USER, bench_question(number)),)))
    assert isinstance(prompt.native, Rendered)  # noqa: S101 - this engine's own
    return prompt.native


async def _chunks(outputs: AsyncIterator[object]) -> AsyncIterator[Chunk]:
    async for output in outputs:
        said = output.outputs[0]  # type: ignore[attr-defined]
        # A model may begin with tokens that no reader sees, such as the one that opens its reasoning.
        yield Chunk(len(said.token_ids), is_text=bool(said.text))


def main() -> None:
    """Take stdout for the answers alone, and serve."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    settings = EngineSettings(**json.loads(sys.stdin.readline()))
    uvloop.run(serve(settings, answers))


if __name__ == "__main__":
    main()
