"""Compiles forms of answers, in a process that may be killed: `python -m services.inference.form_worker`.

It reads lines of JSON and answers each with one. The first has the tokens that
forms are compiled for, as xgrammar serializes them; every other a form. It ends
when nobody writes to it any more.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from pathlib import Path
from typing import Any

# What forms may take beside what the libraries have; the engine would need as much.
MEMORY_BYTES = 2**30
FAULT_CHARACTERS = 512


def main() -> None:
    """Answer until the input ends."""
    # Imports torch, which takes seconds: whoever started the process waits for the first answer.
    import xgrammar

    compiler = xgrammar.GrammarCompiler(_tokens(xgrammar, sys.stdin.readline()), max_threads=1)
    _limit_memory()
    _say({})
    for line in sys.stdin:
        _say(_compile(xgrammar, compiler, json.loads(line)))


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


def _compile(xgrammar: Any, compiler: Any, form: dict[str, str]) -> dict[str, Any]:
    """What came of a form: nothing, or its fault; and how long the engine's process will read it."""
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
        compiler.compile_grammar(grammar)
    except MemoryError:
        return {"too_complex": True}
    except Exception as error:
        return {"fault": _first_line(str(error))}
    finally:
        compiler.clear_cache()
    return {"reading_seconds": reading_seconds}


def _first_line(text: str) -> str:
    """A fault as its author reads it, without the place in xgrammar's sources."""
    line = text.strip().partition("\n")[0]
    _, marker, told = line.partition(".cc:")
    return (told.partition(" ")[2] if marker else line)[:FAULT_CHARACTERS]


def _say(answer: dict[str, Any]) -> None:
    print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
