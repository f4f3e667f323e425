"""Ctrl-C, sent for real to a real process."""

import asyncio
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.certificates import CertificateAuthority
from parley.inference.v1 import answer_pb2
from parley.inference.v1.inference_service_pb2 import DecideApprovalRequest
from tests.client.toy_answers import approved_answer
from tests.client.toy_platform import RUN_ID, ToyPlatform

DEADLINE_SECONDS = 60.0


async def parley(
    *arguments: str, toy: ToyPlatform, authority: CertificateAuthority, home: Path, stdin: int | None = None
) -> asyncio.subprocess.Process:
    environment = {
        **os.environ,
        "PARLEY_HOME": str(home),
        "PARLEY_ADDRESS": toy.address,
        "PARLEY_AUTHORITY_PATH": str(authority.certificate_path),
        "PARLEY_API_KEY": "pk_toy",
    }
    pipe = asyncio.subprocess.PIPE
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "cli", *arguments),
        env=environment,
        stdin=stdin or pipe,
        stdout=pipe,
        stderr=pipe,
    )


async def read_until(stream: asyncio.StreamReader | None, wanted: bytes) -> bytes:
    assert stream is not None
    return await stream.readuntil(wanted)


async def test_ctrl_c_ends_the_answer_and_not_the_program(
    toy: ToyPlatform, authority: CertificateAuthority, home: Path
) -> None:
    toy.hang = True
    finished = toy.events.pop()
    async with asyncio.timeout(DEADLINE_SECONDS):
        process = await parley("chat", toy=toy, authority=authority, home=home)
        assert process.stdin is not None
        process.stdin.write(b"one\n")
        await read_until(process.stdout, b"17 * 23 is 391.")
        process.send_signal(signal.SIGINT)
        await read_until(process.stderr, b"Cancelled.")
        assert await asyncio.to_thread(toy.chat_ended.wait, 10)

        toy.hang = False
        toy.events.append(finished)
        process.stdin.write(b"two\n")
        await read_until(process.stdout, b"17 * 23 is 391.")
        process.stdin.close()
        assert await process.wait() == 0
    _, cancel, second = toy.requests
    assert cancel.run_id == RUN_ID
    # What was said before Ctrl-C is part of the conversation.
    assert [message.role for message in second.messages] == [2, 3, 4, 3, 2]


async def test_ctrl_c_ends_a_single_question_and_its_run(
    toy: ToyPlatform, authority: CertificateAuthority, home: Path
) -> None:
    toy.hang = True
    async with asyncio.timeout(DEADLINE_SECONDS):
        process = await parley("chat", "Hi", toy=toy, authority=authority, home=home)
        await read_until(process.stdout, b"17 * 23 is 391.")
        process.send_signal(signal.SIGINT)
        assert await process.wait() == 130
        assert await asyncio.to_thread(toy.chat_ended.wait, 10)


@pytest.fixture
def terminal() -> Iterator[tuple[int, int]]:
    """A keyboard, and the terminal that it types at."""
    keyboard, screen = os.openpty()
    yield keyboard, screen
    os.close(keyboard)
    os.close(screen)


async def test_at_a_terminal_a_call_is_asked_about_until_it_lapses(
    toy: ToyPlatform, authority: CertificateAuthority, home: Path, terminal: tuple[int, int]
) -> None:
    keyboard, screen = terminal
    async with asyncio.timeout(DEADLINE_SECONDS):
        toy.events = approved_answer()
        process = await parley("chat", "Hi", toy=toy, authority=authority, home=home, stdin=screen)
        await read_until(process.stderr, b"Run python_run? [y/N]")
        os.write(keyboard, b"y\n")
        assert await process.wait() == 0

        toy.events = approved_answer(seconds=0)
        process = await parley("chat", "Hi", toy=toy, authority=authority, home=home, stdin=screen)
        await read_until(process.stderr, b"nobody said so in time")
        assert await process.wait() == 0
    decided = [request for request in toy.requests if isinstance(request, DecideApprovalRequest)]
    assert [each.decision.verdict for each in decided] == [answer_pb2.APPROVAL_VERDICT_APPROVE]


async def test_ctrl_c_at_the_question_ends_the_run(
    toy: ToyPlatform, authority: CertificateAuthority, home: Path, terminal: tuple[int, int]
) -> None:
    async with asyncio.timeout(DEADLINE_SECONDS):
        toy.events, toy.hang = approved_answer(), True
        process = await parley("chat", "Hi", toy=toy, authority=authority, home=home, stdin=terminal[1])
        await read_until(process.stderr, b"Run python_run? [y/N]")
        process.send_signal(signal.SIGINT)
        assert await process.wait() == 130
        assert await asyncio.to_thread(toy.chat_ended.wait, 10)
