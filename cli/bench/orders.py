"""What a process is ordered that is a side of a comparison: a line of JSON each, which a line answers.

First how the side is made, then what it is to do (`cli.bench.answering.Side`), such as
`{"do": "measure", "with": {"streams": 16, "tokens": 128}}`. All else that the process says goes to stderr.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict
from typing import IO, Any

import uvloop

from cli.bench.answering import Answering

Load = Callable[[Mapping[str, Any]], Awaitable[Answering]]


def run(load: Load) -> None:
    """Take stdout for the answers alone, make the side, and do what is ordered until there is no more."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    uvloop.run(_serve(load, sys.stdin, answers))


async def _serve(load: Load, orders: IO[str], answers: IO[str]) -> None:
    side = await load(json.loads(orders.readline()))
    _answer(answers, {})
    # Streams that are held go on while there is no order.
    while line := await asyncio.to_thread(orders.readline):
        order = json.loads(line)
        _answer(answers, await getattr(side, order["do"])(**order["with"]))
    await side.release()
    await side.close()


def _answer(answers: IO[str], answer: object) -> None:
    print(json.dumps(answer, default=asdict), file=answers, flush=True)
