"""Compiles forms of answers, in a process that may be killed: `python -m services.inference.forms.worker`.

It reads lines of JSON and answers each with one. The first has the tokens that
forms are compiled for, as xgrammar serializes them; every other a form. It ends
when nobody writes to it any more.
"""

from __future__ import annotations

import json
import random
import resource
import sys
import time
from collections.abc import Callable, Container, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

# What forms may take beside what the libraries have; the engine would need as much.
MEMORY_BYTES = 2**30
FAULT_CHARACTERS = 512
# Trial answers: forms that compile in no time can take longer for each token than for the one before.
WALK_TOKENS = 96
WALK_SECONDS = 1.0
NO_TOKEN = -1
# Tokens of which a word of a mask tells.
WORD = 32


def main() -> None:
    """Answer until the input ends."""
    # Imports torch, which takes seconds: whoever started the process waits for the first answer.
    import xgrammar

    tokens = _tokens(xgrammar, sys.stdin.readline())
    compiler = xgrammar.GrammarCompiler(tokens, max_threads=1)
    _limit_memory()
    _say({})
    for line in sys.stdin:
        _say(_compile(xgrammar, compiler, tokens.vocab_size, json.loads(line)))


def _tokens(xgrammar: Any, line: str) -> Any:
    """The tokens to compile for; the bytes where none are given."""
    serialized = json.loads(line)
    if serialized:
        return xgrammar.TokenizerInfo.deserialize_json(serialized)
    return xgrammar.TokenizerInfo([bytes([byte]) for byte in range(256)], stop_token_ids=[0])


def _limit_memory() -> None:
    """Let the allocator fail before the machine suffers; what the libraries map is there already."""
    used = _data_bytes()
    resource.setrlimit(resource.RLIMIT_DATA, (used + MEMORY_BYTES, used + MEMORY_BYTES))


def _data_bytes() -> int:
    fields = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(fields["VmData"].split()[0]) * 1024


def _compile(xgrammar: Any, compiler: Any, vocabulary: int, form: dict[str, str]) -> dict[str, Any]:
    """What came of a form: its fault, or how long the engine will take to read it and for a token."""
    read = {
        "json_schema": xgrammar.Grammar.from_json_schema,
        "regex": xgrammar.Grammar.from_regex,
        "grammar": xgrammar.Grammar.from_ebnf,
        "structural_tag": xgrammar.Grammar.from_structural_tag,
    }[form["kind"]]
    began = time.thread_time()
    try:
        grammar = read(form["text"])
        reading_seconds = time.thread_time() - began
        compiled = compiler.compile_grammar(grammar)
        step_seconds = max(_walk(xgrammar, compiled, vocabulary, walk) for walk in _walks(vocabulary))
    except MemoryError:
        return {"too_complex": True}
    except Exception as error:
        return {"fault": _first_line(str(error))}
    finally:
        compiler.clear_cache()
    return {"reading_seconds": reading_seconds, "step_seconds": step_seconds}


def _walks(vocabulary: int) -> tuple[Callable[[int], int], ...]:
    """Ways to go on after a token: the same again, which can be read in ever more ways, and any other."""
    chosen = random.Random(vocabulary)  # noqa: S311 - the same walk each time, and no secret
    return (lambda last: last), (lambda _: chosen.randrange(vocabulary))


def _walk(xgrammar: Any, compiled: Any, vocabulary: int, begin_at: Callable[[int], int]) -> float:
    """The longest that the engine takes for a token of such an answer, while all its requests wait."""
    matcher = xgrammar.GrammarMatcher(compiled)
    mask, stops = xgrammar.allocate_token_bitmask(1, vocabulary), frozenset(matcher.stop_token_ids)
    began = now = time.thread_time()
    longest, token = 0.0, 0
    for _ in range(WALK_TOKENS):
        step = now
        matcher.fill_next_token_bitmask(mask)
        token = _allowed(mask[0].tolist(), begin_at(token), stops)
        if token == NO_TOKEN:
            break
        matcher.accept_token(token)
        now = time.thread_time()
        longest = max(longest, now - step)
        if now - began > WALK_SECONDS:
            return now - began
    return longest


def _allowed(words: Sequence[int], begin: int, stops: Container[int]) -> int:
    """The first token from a place on that a mask has and that does not end the answer."""
    for place in chain(range(begin // WORD, len(words)), range(begin // WORD + 1)):
        if not words[place]:
            continue
        for token in range(place * WORD, place * WORD + WORD):
            if words[place] >> token % WORD & 1 and token not in stops:
                return token
    return NO_TOKEN


def _first_line(text: str) -> str:
    """A fault as its author reads it, without the place in xgrammar's sources."""
    line = text.strip().partition("\n")[0]
    _, marker, told = line.partition(".cc:")
    return (told.partition(" ")[2] if marker else line)[:FAULT_CHARACTERS]


def _say(answer: dict[str, Any]) -> None:
    print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
