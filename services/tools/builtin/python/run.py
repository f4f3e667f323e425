"""`python_run`: code that a model or a person wrote, in the sandbox."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Annotated

from pydantic import Field

from services.tools.builtin.file import MAX_PATH_CHARACTERS
from services.tools.builtin.python.workspace_files import MAX_BYTES, MAX_FILES, put_back, take_in
from services.tools.catalogue import (
    Arguments,
    Category,
    Example,
    LoopCall,
    SafetyLevel,
    Tool,
    ToolResult,
    tool,
)
from services.tools.errors import ProgramLimitReached, ToolFailed
from services.tools.events import Output
from services.tools.sandbox.policy import Limits
from services.tools.sandbox.sandbox import Finished, LimitReached, Program, Sandbox, SandboxBroken
from services.tools.workspace import Workspaces

MAX_CODE_CHARACTERS = 200_000
MAX_ARGUMENT_CHARACTERS = 32_768
MAX_SECONDS = 120
NAME = "python_run"
# What the program puts out travels twice, as it appears and in the result; and a
# control character takes six bytes as JSON.
MAX_OUTPUT_BYTES = 2 * 2**20

_UNITS = {"seconds": "s", "cpu_seconds": "s of processor time", "entries": "files and folders"}


class PythonRunArguments(Arguments):
    """What `python_run` takes."""

    code: str = Field(
        min_length=1,
        max_length=MAX_CODE_CHARACTERS,
        description="Python 3 code. It has the standard library, no network, and no other programs. What it "
        "prints is the answer.",
        examples=["print(sum(range(101)))"],
    )
    arguments: list[Annotated[str, Field(max_length=MAX_ARGUMENT_CHARACTERS)]] = Field(
        [], max_length=64, description="What the code finds in sys.argv after the program's name."
    )
    files: list[Annotated[str, Field(min_length=1, max_length=MAX_PATH_CHARACTERS)]] | None = Field(
        None,
        max_length=MAX_FILES,
        description="Files and folders of the workspace to lay into the folder where the code runs. Default: "
        f"all, if they are no more than {MAX_FILES} files and {MAX_BYTES // 2**20} MiB.",
        examples=[["data/sales.csv"]],
    )
    timeout_seconds: int = Field(
        30, ge=1, le=MAX_SECONDS, description="Seconds after which the code is ended."
    )


class SavedFile(ToolResult):
    """A file that the code made or changed."""

    path: str = Field(max_length=MAX_PATH_CHARACTERS, description="Its path in the workspace.")
    size_bytes: int


class PythonRunResult(ToolResult):
    """What `python_run` gives."""

    exit_status: int = Field(
        description="0: it went well; 1: an exception; other: its own; 128 + n: ended by signal n."
    )
    stdout: str = Field(description="What it printed.")
    stderr: str = Field(description="What it wrote to standard error, such as a traceback.")
    files: list[SavedFile] = Field(description="Files that it made or changed, now in the workspace.")
    left_out: list[str] | None = Field(
        None, description="What it left that is no plain file with a plain path, and is not kept."
    )


EXAMPLES = (
    Example(
        "Add numbers up",
        {"code": "print(sum(range(101)))"},
        {"exit_status": 0, "stdout": "5050\n", "stderr": "", "files": []},
    ),
    Example(
        "Work on a file of the workspace",
        {
            "code": "import csv\nrows = list(csv.DictReader(open('sales.csv')))\n"
            "total = sum(int(row['amount']) for row in rows)\nopen('total.txt', 'w').write(str(total))",
            "files": ["sales.csv"],
        },
        {"exit_status": 0, "stdout": "", "stderr": "", "files": [{"path": "total.txt", "size_bytes": 2}]},
        files={"sales.csv": "item,amount\npens,12\npaper,30\n"},
    ),
)


def python_tools(
    sandbox: Sandbox | None, workspaces: Workspaces, *, limits: Limits | None = None, unavailable: str = ""
) -> tuple[Tool, ...]:
    """The tools that run Python.

    Args:
        sandbox: Where the code runs; None where there is none.
        workspaces: Where its files come from and go to.
        limits: How much it may take, time aside; default: the policy's.
        unavailable: Why there is no sandbox.
    """
    most = limits or Limits()

    @tool(
        category=Category.UTILITY,
        safety=SafetyLevel.DANGEROUS,
        # Waiting for its turn in the sandbox and moving files come on top of the code's own time.
        timeout_seconds=MAX_SECONDS + 60,
        max_output_bytes=MAX_OUTPUT_BYTES,
        idempotent=False,
        examples=EXAMPLES,
    )
    async def python_run(arguments: PythonRunArguments, call: LoopCall) -> PythonRunResult:
        """Runs Python code in a sandbox. Files that it writes to its working folder are kept."""
        if sandbox is None:
            raise ToolFailed(NAME, f"{NAME} cannot run: {unavailable}.")
        chosen = arguments.files
        files = await asyncio.to_thread(take_in, NAME, workspaces, call.owner, chosen)
        seconds = arguments.timeout_seconds
        bounds = replace(most, seconds=seconds, cpu_seconds=seconds)
        program = Program(arguments.code, tuple(arguments.arguments), files, bounds)
        finished = await _run(sandbox, program, call)
        kept = finished.collected.files
        refused = await asyncio.to_thread(put_back, workspaces, call.owner, kept)
        return _result(finished, refused)

    return (replace(python_run, unavailable=unavailable),)


async def _run(sandbox: Sandbox, program: Program, call: LoopCall) -> Finished:
    async def hear(text: str) -> None:
        await call.report(Output(text))

    try:
        return await sandbox.run(program, hear)
    except LimitReached as error:
        allowed = f"{getattr(program.limits, error.limit):g} {_UNITS.get(error.limit, 'bytes')}"
        raise ProgramLimitReached(NAME, error.limit, allowed) from None
    except SandboxBroken as error:
        raise ToolFailed(NAME, f"The sandbox did not start the program: {error}.") from error


def _result(finished: Finished, refused: list[str]) -> PythonRunResult:
    saved = [
        SavedFile(path=path, size_bytes=len(content))
        for path, content in sorted(finished.collected.files.items())
        if path not in refused
    ]
    return PythonRunResult(
        exit_status=finished.exit_status,
        stdout=finished.stdout,
        stderr=finished.stderr,
        files=saved,
        left_out=[*finished.collected.left_out, *refused] or None,
    )
