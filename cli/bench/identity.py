"""What identity costs at the front door: a token, a key, a login; with few users and with many."""

from __future__ import annotations

import asyncio
import os
import statistics
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import grpc

from cli.failures import CommandError, ExitCode
from cli.home import Home
from cli.local import probes
from cli.local.certificates import issue_missing, open_authority
from cli.local.child import ChildSpec
from cli.local.edge import render_edge
from cli.local.groups import guarded_groups
from cli.local.model import ModelChoice
from cli.local.pools import Pool
from cli.local.preflight import free_port
from cli.local.resources import CoreShare
from cli.local.stack import SESSIONS, TOOLS, Stack, StackPlan
from cli.local.supervisor import Supervisor
from parley.auth.v1 import session_service_pb2
from parley.auth.v1.session_service_pb2_grpc import SessionServiceStub
from parley_client.channel import open_channel
from parley_client.client import Client
from parley_client.credentials import ApiKey, Login, TokensInMemory

POPULATE_SECONDS = 600.0
CALL_SECONDS = 30.0
LOGINS = 20
LOGINS_AT_ONCE = 4
PARTS = ("store", "auth", "tools", "edge")
NO_FLOOD = {"PARLEY_EDGE_ANONYMOUS_BURST": "100000", "PARLEY_EDGE_ANONYMOUS_CALLS_PER_SECOND": "10000"}
"""The bench comes from one address, and quicker than any person."""

Call = Callable[[], Awaitable[object]]


@dataclass(frozen=True)
class Row:
    """A figure.

    Attributes:
        name: What was measured.
        milliseconds: It.
        target: What it shall stay below; empty where there is no such figure.
    """

    name: str
    milliseconds: float
    target: str = ""


@dataclass
class Door:
    """The front door with nothing but identity behind it.

    Attributes:
        channel: Leads to the edge.
        client: The administrator.
        password: The administrator's.
        auth: The auth service's process, as it was started.
        home: Where the processes keep everything.
        pids: The processes, by name.
    """

    channel: grpc.aio.Channel
    client: Client
    password: str
    auth: ChildSpec
    home: Home
    pids: Mapping[str, int]

    async def calls(self) -> dict[str, Call]:
        """The same small answer from auth, asked without a credential, with a token and with a key."""
        stub = SessionServiceStub(self.channel)
        key = (await self.client.create_key("bench")).secret
        token = await self.client.credentials.metadata()
        by_key = await ApiKey(key).metadata()
        who, keys = session_service_pb2.WhoAmIRequest(), session_service_pb2.GetJwksRequest()
        return {
            "none": lambda: stub.GetJwks(keys, timeout=CALL_SECONDS),
            "token": lambda: stub.WhoAmI(who, metadata=token, timeout=CALL_SECONDS),
            "key": lambda: stub.WhoAmI(who, metadata=by_key, timeout=CALL_SECONDS),
        }

    async def login(self) -> None:
        """One login, as a stranger."""
        request = session_service_pb2.LoginRequest(username="admin", password=self.password)
        await SessionServiceStub(self.channel).Login(request, timeout=CALL_SECONDS)

    async def populate(self, users: int, keys: int) -> None:
        """Add users and keys.

        Raises:
            CommandError: They cannot be added.
        """
        command = (sys.executable, "-P", "-m", "services.auth.population")
        process = await asyncio.create_subprocess_exec(
            *(*command, "--users", str(users), "--keys", str(keys)), env=dict(self.auth.environment)
        )
        async with asyncio.timeout(POPULATE_SECONDS):
            if await process.wait():
                raise CommandError("The users and keys could not be added.", "", ExitCode.MACHINE)


@asynccontextmanager
async def front_door(
    scratch: Path, environment: Mapping[str, str] = os.environ, *, tools: bool = False
) -> AsyncIterator[Door]:
    """Start store, auth, tools where they are wanted, and the edge, and log in; end them afterwards.

    Raises:
        CommandError: The edge cannot be configured.
        StartFailed: A process did not start.
    """
    home = Home(scratch / "home")
    address = f"127.0.0.1:{free_port()}"
    told = {**environment, "PARLEY_EDGE_LISTEN_ADDRESS": address, **NO_FLOOD}
    model = ModelChoice(str(scratch), "none")
    temporary = "TMPDIR"
    plan = StackPlan(home, (Pool(model, (CoreShare(()),)),), None, told, temporary)
    authority = open_authority(home)
    issue_missing(authority)
    stack = Stack(plan, authority)
    await asyncio.to_thread(render_edge, stack.edge_environment(), stack.edge_configuration)
    specs = {spec.name: spec for stage in stack.stages() for spec in stage}
    answers = probes.edge_answers(address, authority.certificate_path, TOOLS if tools else SESSIONS)
    specs["edge"] = replace(specs["edge"], is_ready=answers)
    parts = [name for name in PARTS if name != "tools" or tools]
    with guarded_groups() as groups:
        supervisor = Supervisor([[specs[name]] for name in parts], groups=groups, report=lambda _: None)
        try:
            await supervisor.start()
            channel = open_channel(address, authority=home.authority_path)
            async with Client(channel) as client:
                password = home.password_path.read_text().strip()
                client.credentials = Login(
                    TokensInMemory(await client.login("admin", password)), client.refresh
                )
                children = ((each.spec.name, each.child) for each in supervisor.processes)
                pids = {name: child.pid for name, child in children if child}
                yield Door(channel, client, password, specs["auth"], home, pids)
        finally:
            await supervisor.stop()


async def identity_rows(door: Door, calls: int, users: int, keys: int) -> list[Row]:
    """Measure, then again with many users and keys."""
    made = await door.calls()
    rows = await _call_rows(made, calls, "")
    rows += await _login_rows(door, made["token"])
    if users and keys:
        await door.populate(users, keys)
        rows += await _call_rows(made, calls, f", {users:,} users and {keys:,} keys")
    return rows


async def _call_rows(made: Mapping[str, Call], calls: int, when: str) -> list[Row]:
    """The three calls in turn, so that all meet the same weather; what each adds at the median."""
    taken: dict[str, list[float]] = {name: [] for name in made}
    for _ in range(max(10, calls // 10)):
        for call in made.values():
            await call()
    for _ in range(calls):
        for name, call in made.items():
            taken[name].append(await milliseconds(call))
    none, token, key = (statistics.median(taken[name]) for name in ("none", "token", "key"))
    return [
        Row(f"call without a credential, p50{when}", none),
        Row(f"a token adds, p50{when}", token - none, "0.3"),
        Row(f"a key adds, p50{when}", key - none, "1.5"),
    ]


async def _login_rows(door: Door, call: Call) -> list[Row]:
    """Logins one by one; and a call's median while several log in at once."""
    logins = [await milliseconds(door.login) for _ in range(LOGINS)]
    alone = [await milliseconds(call) for _ in range(LOGINS * 5)]
    crowd = [asyncio.create_task(_log_in_again_and_again(door)) for _ in range(LOGINS_AT_ONCE)]
    beside = []
    while not all(task.done() for task in crowd):
        beside.append(await milliseconds(call))
    await asyncio.gather(*crowd)
    return [
        Row("login, p50", statistics.median(logins), "60 to 250"),
        Row("call with a token, p50", statistics.median(alone)),
        Row(f"the same beside {LOGINS_AT_ONCE} logins at once, p50", statistics.median(beside)),
    ]


async def _log_in_again_and_again(door: Door) -> None:
    for _ in range(LOGINS // LOGINS_AT_ONCE):
        await door.login()


async def milliseconds(call: Call) -> float:
    """Time that a call takes."""
    began = time.perf_counter()
    await call()
    return 1000 * (time.perf_counter() - began)
