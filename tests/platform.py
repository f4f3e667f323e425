"""The whole platform, started once as a person starts it, and the means to reach it as clients do."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import signal
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import httpx
import psutil
from grpc_health.v1 import health_pb2, health_pb2_grpc

from cli.home import Home
from cli.local.preflight import free_port
from parley_client.client import Client
from parley_client.credentials import Credentials, Login, TokensInMemory
from parley_client.errors import ParleyError

START_SECONDS = 900
STOP_SECONDS = 60
RECOVERY_SECONDS = 300
POLL_SECONDS = 0.2
PARLEY = [sys.executable, "-m", "cli"]


@dataclass
class Stack:
    """A running platform.

    Attributes:
        home: Its home.
        address: Where its edge listens.
        log: What it prints.
        settings: The settings of its processes that it was started with.
    """

    home: Home
    address: str
    log: Path
    settings: Mapping[str, str] = field(default_factory=dict)

    @property
    def authority(self) -> bytes:
        return self.home.authority_path.read_bytes()

    @property
    def password(self) -> str:
        return self.home.password_path.read_text().strip()

    def channel(self) -> grpc.aio.Channel:
        return grpc.aio.secure_channel(self.address, grpc.ssl_channel_credentials(self.authority))

    def client(self, credentials: Credentials | None = None) -> Client:
        return Client(self.channel(), credentials)

    async def admin(self) -> Client:
        """A client that logged in as the administrator."""
        client = self.client()
        tokens = await client.login("admin", self.password)
        client.credentials = Login(TokensInMemory(tokens), client.refresh)
        return client

    def http(self, **options: object) -> httpx.AsyncClient:
        """A client of the JSON surface."""
        context = ssl.create_default_context(cadata=self.authority.decode())
        return httpx.AsyncClient(verify=context, base_url=f"https://{self.address}", timeout=60, **options)  # type: ignore[arg-type]

    def process(self, name: str) -> psutil.Process:
        """The supervised process of this name, as it is now."""
        state = self.home.read_state()
        assert state is not None
        return psutil.Process(state.processes[name].pid)

    def families(self) -> dict[str, list[psutil.Process]]:
        """Each supervised process with everything below it, as they are now."""
        state = self.home.read_state()
        assert state is not None
        return {name: family(psutil.Process(process.pid)) for name, process in state.processes.items()}

    def held(self) -> dict[str, float]:
        """What all processes hold together."""
        members = [member for members in self.families().values() for member in members]
        return {
            "open files and connections": total(members, psutil.Process.num_fds),
            "MiB of memory": total(members, written_mib),
        }

    @contextlib.contextmanager
    def stopped(self, name: str) -> Iterator[None]:
        """Hangs a process and everything below it for a while."""
        with standing_still(self.process(name)):
            yield

    async def until_ready(self) -> None:
        """Waits until every process is ready, those that were started again included."""
        async with asyncio.timeout(RECOVERY_SECONDS):
            while not self._is_ready():  # noqa: ASYNC110 - polls another process
                await asyncio.sleep(POLL_SECONDS)

    def _is_ready(self) -> bool:
        state = self.home.read_state()
        return state is not None and all(
            process.phase == "ready" and process.is_alive() for process in state.processes.values()
        )

    async def until(self, serving: bool, service: str = "parley.inference.v1.InferenceService") -> None:
        """Waits until the edge reports that a service serves, or that it does not."""
        async with asyncio.timeout(RECOVERY_SECONDS), self.channel() as channel:
            while await self._serves(channel, service) is not serving:  # noqa: ASYNC110 - polls another process
                await asyncio.sleep(POLL_SECONDS)

    async def until_answering(self, client: Client) -> None:
        """Waits until a call gets through: the edge sees a replica's health a little later than auth."""
        async with asyncio.timeout(RECOVERY_SECONDS):
            while not await _answers(client):  # noqa: ASYNC110 - polls another process
                await asyncio.sleep(POLL_SECONDS)

    async def _serves(self, channel: grpc.aio.Channel, service: str) -> bool:
        request = health_pb2.HealthCheckRequest(service=service)
        try:
            answer = await health_pb2_grpc.HealthStub(channel).Check(request, timeout=5)
        except grpc.aio.AioRpcError:
            return False
        return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)

    def parley(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Runs the command against this platform."""
        return subprocess.run(
            [*PARLEY, *arguments],
            env={**os.environ, **self.environment(), **environment},
            capture_output=True,
            text=True,
            timeout=START_SECONDS,
            check=False,
        )

    def environment(self) -> dict[str, str]:
        return {"PARLEY_HOME": str(self.home.path), "PARLEY_EDGE_LISTEN_ADDRESS": self.address}


def family(process: psutil.Process) -> list[psutil.Process]:
    """A process and everything below it."""
    return [process, *process.children(recursive=True)]


def total(members: Iterable[psutil.Process], measure: Callable[[psutil.Process], float]) -> float:
    """Of all that still live; a tool's sandbox may have gone meanwhile."""
    found = 0.0
    for process in members:
        with contextlib.suppress(psutil.NoSuchProcess):
            found += measure(process)
    return found


def written_mib(process: psutil.Process) -> float:
    """Memory that a process has written to; pages of files come and go with what else runs on the machine."""
    try:
        told = Path(f"/proc/{process.pid}/smaps_rollup").read_text()
    except OSError:  # it is gone
        return 0.0
    sizes = dict(line.split(":", 1) for line in told.splitlines()[1:])
    return sum(float(sizes[name].removesuffix("kB")) for name in ("Pss_Anon", "Pss_Shmem")) / 1024


@contextlib.contextmanager
def standing_still(process: psutil.Process) -> Iterator[None]:
    """Hangs a process and everything below it until the block's end; what was ending then is gone."""
    members = family(process)
    _send(members, signal.SIGSTOP)
    try:
        yield
    finally:
        _send(members, signal.SIGCONT)


def _send(members: Iterable[psutil.Process], what: signal.Signals) -> None:
    for member in members:
        with contextlib.suppress(psutil.NoSuchProcess):
            member.send_signal(what)


async def _answers(client: Client) -> bool:
    try:
        await client.list_models()
    except ParleyError as error:
        if error.code is not grpc.StatusCode.UNAVAILABLE:
            raise
        return False
    return True


@contextlib.contextmanager
def running_stack(folder: Path, *options: str, **environment: str) -> Iterator[Stack]:
    """`parley up`, with its home in this folder, until the block's end.

    Args:
        folder: Where it keeps its state and what it prints.
        options: Of the command.
        environment: Settings of its processes.
    """
    platform = Stack(Home(folder / "home"), f"127.0.0.1:{free_port()}", folder / "up.log", environment)
    with started(platform, *options, **environment):
        yield platform


@contextlib.contextmanager
def started(platform: Stack, *options: str, **environment: str) -> Iterator[None]:
    """`parley up` for this platform, until the block's end or until somebody ends it before."""
    with platform.log.open("w") as log:
        process = subprocess.Popen(
            [*PARLEY, "up", *options],
            env={**os.environ, **platform.environment(), **environment},
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            start_new_session=True,
        )
    try:
        read_until_ready(process, platform)
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(STOP_SECONDS)
        process.kill()
        process.wait()


def read_until_ready(process: subprocess.Popen[str], platform: Stack) -> None:
    """Reads what `parley up` prints until it says that the front door is open."""
    assert process.stdout is not None
    lines = []
    timer = threading.Timer(START_SECONDS, process.kill)
    timer.start()
    try:
        for line in process.stdout:
            lines.append(line)
            if re.search(rf"https://\S*:{platform.address.rpartition(':')[2]}", line):
                return
    finally:
        timer.cancel()
    raise AssertionError("parley up ended:\n" + "".join(lines) + platform.log.read_text())


def error_body(answer: httpx.Response) -> tuple[int, str]:
    """HTTP status and reason of a JSON error."""
    body = json.loads(answer.text)
    reasons = [detail["reason"] for detail in body.get("details", ()) if "reason" in detail]
    return answer.status_code, reasons[0] if reasons else ""
