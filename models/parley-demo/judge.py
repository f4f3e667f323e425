"""Judge the demonstration model through the platform's own engine (vLLM), greedily.

`python models/parley-demo/judge.py` prints a table per kind for known wordings with new arguments and for
held-out wordings. A call is right if its name and arguments are those wanted; an answer is right if it is the
wanted text, character for character, and its calls were right. `--check` fails below the thresholds.
"""

import argparse
import asyncio
import json
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
# Run as a script, only this folder is on the path; the platform is two folders up.
sys.path += [str(FOLDER.parent.parent), str(FOLDER.parent.parent / "gen")]

from parley_demo import judging  # noqa: E402 - after the path
from parley_demo.dialogue import Dialogue  # noqa: E402
from parley_demo.rendering import messages_of  # noqa: E402

from services.inference.engine.port import Engine  # noqa: E402
from services.inference.engine.turn import Message, Role, Sampling, ToolCall, ToolSpec, Turn  # noqa: E402
from services.inference.reading.step import ContentDelta  # noqa: E402
from services.inference.settings import EngineSettings  # noqa: E402

_AT_ONCE = 24
_LONGEST_ANSWER = 400
THRESHOLDS = {"known wordings": 0.97, "held-out": 0.90}


def _message(message: dict[str, object], at: int) -> Message:
    """A message of a dialogue as the engine takes it; earlier reasoning does not come back."""
    calls = message.get("tool_calls") or []
    assert isinstance(calls, list)  # noqa: S101 - made by rendering.turns_of
    made = tuple(
        ToolCall(f"call_{at}_{index}", call["function"]["name"], json.dumps(call["function"]["arguments"]))
        for index, call in enumerate(calls)
    )
    return Message(Role(str(message["role"])), str(message["content"] or ""), tool_calls=made)


class Judge:
    """Puts dialogues to an engine."""

    def __init__(self, engine: Engine, report: Callable[[Dialogue, str, str], None]) -> None:
        self._engine, self._report = engine, report
        self._slots = asyncio.Semaphore(_AT_ONCE)
        self._asked = 0

    async def verdicts(self, dialogues: list[Dialogue]) -> list[judging.Verdict]:
        """Judge all, several at once."""
        return await asyncio.gather(*(self._verdict(dialogue) for dialogue in dialogues))

    async def _verdict(self, dialogue: Dialogue) -> judging.Verdict:
        async with self._slots:
            wanted = dialogue.last
            messages = [_message(message, at) for at, message in enumerate(messages_of(dialogue))]
            turns = 2 + len(wanted.calls) if wanted.calls else 1
            content, calls = await self._ask(messages[:-turns], dialogue)
            right = judging.same_calls(wanted.calls, [(call.name, call.arguments) for call in calls])
            if right and wanted.calls:
                content, more = await self._ask(messages[:-1], dialogue)
                calls += more
            answered = (
                right and len(calls) == len(wanted.calls) and judging.same_answer(wanted.answer, content)
            )
            if not answered:
                self._report(dialogue, content, " ".join(f"{call.name}{call.arguments}" for call in calls))
            return judging.Verdict(dialogue.kind, right, answered)

    async def _ask(self, messages: list[Message], dialogue: Dialogue) -> tuple[str, tuple[ToolCall, ...]]:
        """One turn of the model: what it says and what it calls."""
        tools = tuple(ToolSpec(name, "", {"type": "object"}) for name in dialogue.offered)
        prompt = await self._engine.render(Turn(tuple(messages), tools, Sampling(temperature=0.0)))
        self._asked += 1
        content, calls = "", tuple[ToolCall, ...]()
        async for step in self._engine.generate(
            prompt, max_output_tokens=_LONGEST_ANSWER, request_id=f"judge-{self._asked}"
        ):
            content += "".join(delta.text for delta in step.deltas if isinstance(delta, ContentDelta))
            calls = step.end.calls if step.end else calls
        return content, calls


async def judged(options: argparse.Namespace) -> dict[str, list[judging.Score]]:
    """Both sets' scores."""
    # Imported late: it takes seconds, and `--help` should not.
    from services.inference.vllm.engine import VllmEngine

    settings = EngineSettings(model=str(options.model), name="parley-demo", kv_cache_bytes=2**29)
    engine = await asyncio.to_thread(VllmEngine.load, settings)
    judge = Judge(engine, _print_slip if options.slips else lambda *_: None)
    sets = {"known wordings": judging.known_set, "held-out": judging.held_out_set}
    try:
        found = {}
        for name, make in sets.items():
            print(f"{name}: {options.questions} questions ...", file=sys.stderr, flush=True)
            found[name] = judging.scores(await judge.verdicts(make(options.questions, options.seed)))
        return found
    finally:
        await engine.close()


def _print_slip(dialogue: Dialogue, content: str, calls: str) -> None:
    wanted = " ".join(call.text for call in dialogue.last.calls)
    print(
        f"[{dialogue.kind}] {dialogue.questions[-1]}\n  wanted {wanted} {dialogue.last.answer!r}",
        file=sys.stderr,
    )
    print(f"  got    {calls} {content!r}", file=sys.stderr)


def failures(found: dict[str, list[judging.Score]]) -> list[str]:
    """What falls short of the thresholds, a line each."""
    return [
        f"{name}: right {what} {right / total.questions:.1%}, {THRESHOLDS[name]:.0%} wanted"
        for name, kinds in found.items()
        for total in kinds[-1:]
        for what, right in (("calls", total.calls), ("answers", total.answers))
        if right < THRESHOLDS[name] * total.questions
    ]


def main() -> int:
    """Judge, print, and fail if asked to and something falls short."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", type=Path, default=FOLDER, help="folder of the model")
    parser.add_argument("--questions", type=int, default=300, help="questions of each set")
    parser.add_argument("--seed", type=int, default=judging.SEED)
    parser.add_argument("--json", action="store_true", help="print the scores as JSON")
    parser.add_argument("--slips", action="store_true", help="show every wrong dialogue")
    parser.add_argument("--check", action="store_true", help="exit with 1 below the thresholds")
    options = parser.parse_args()
    found = asyncio.run(judged(options))
    if options.json:
        print(
            json.dumps({name: [asdict(score) for score in kinds] for name, kinds in found.items()}, indent=2)
        )
    else:
        print("\n\n".join(judging.table(name, kinds) for name, kinds in found.items()))
    short = failures(found)
    print("\n".join(short), file=sys.stderr)
    return 1 if options.check and short else 0


if __name__ == "__main__":
    sys.exit(main())
