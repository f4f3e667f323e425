"""`parley up`: starts the local stack and keeps it running."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Annotated

import typer

from cli.answer import AnswerPrinter
from cli.console import answers, errors
from cli.credentials import local_login
from cli.environment import command_settings
from cli.failures import CommandError, ExitCode, told
from cli.home import AlreadyHeld, Home
from cli.local.certificates import issue_missing, open_authority
from cli.local.control_server import ControlServer
from cli.local.edge import EdgePools, render_edge
from cli.local.groups import guarded_groups
from cli.local.membership import Membership
from cli.local.model import MODEL_VARIABLE, choose_models
from cli.local.pools import Pool
from cli.local.preflight import available_bytes, check_files, check_memory, check_port, needed_bytes
from cli.local.probes import local_address
from cli.local.progress import LiveProgress, PlainProgress, Progress
from cli.local.resources import KV_BYTES, CoreShare, runs_on_cpu, share_cores
from cli.local.stack import Stack, StackPlan
from cli.local.state_keeper import StateKeeper
from cli.local.supervisor import StartFailed, Supervisor, on_stop_signals
from deploy.certificates import CertificateAuthority
from deploy.envoy.endpoints import EndpointFiles
from parley_client.channel import open_channel
from parley_client.client import Client, question

LOOK_SECONDS = 1.0


@dataclass(frozen=True)
class Demonstration:
    """A question that is asked once the stack is up.

    Attributes:
        text: The question; empty for none.
        then_stop: Whether the stack ends after the answer.
    """

    text: str = ""
    then_stop: bool = False


@told
def up(
    once: Annotated[str, typer.Option(help="Ask this, show the answer, stop.", metavar="QUESTION")] = "",
    ask: Annotated[str, typer.Option(help="Ask this, show the answer, go on.", metavar="QUESTION")] = "",
    model: Annotated[
        list[str] | None,
        typer.Option(help="A model's folder or Hugging Face name; again for more.", metavar="PATH_OR_NAME"),
    ] = None,
    replicas: Annotated[int, typer.Option(help="Inference replicas of each model.", min=1, max=64)] = 1,
) -> None:
    """Start Parley on this machine and keep it running until Ctrl-C."""
    settings = command_settings(os.environ)
    home = Home(settings.home.absolute())
    try:
        with home.held():
            plan = make_plan(home, model or [], replicas, settings.pass_variables)
            asyncio.run(_serve(plan, Demonstration(once or ask, then_stop=bool(once))))
    except AlreadyHeld:
        message = f"Parley already runs from {home.path}."
        raise CommandError(message, "`parley status` shows it, `parley down` ends it.") from None


def make_plan(home: Home, models: Sequence[str], replicas: int, pass_variables: str) -> StackPlan:
    """What to start, once the machine was found fit for it.

    Raises:
        CommandError: A model is missing, the port taken, memory too little, or a file missing.
    """
    chosen = choose_models(models or [os.environ.get(MODEL_VARIABLE, "")], os.environ)
    on_cpu = runs_on_cpu()
    count = replicas * len(chosen)
    cores = share_cores(count) if on_cpu else (CoreShare(()),) * count
    pools = tuple(
        Pool(model, cores[first : first + replicas])
        for model, first in zip(chosen, range(0, count, replicas), strict=True)
    )
    kv_bytes = int(os.environ.get("PARLEY_INFERENCE_KV_CACHE_BYTES", KV_BYTES))
    told_bytes = kv_bytes if on_cpu else None
    plan = StackPlan(home, pools, told_bytes, dict(os.environ), pass_variables)
    check_files(os.environ)
    host, _, port = plan.edge_address.rpartition(":")
    check_port(host.strip("[]"), int(port))
    if on_cpu:
        check_memory(needed_bytes(chosen * replicas, kv_bytes), available_bytes())
    return plan


async def _serve(plan: StackPlan, demonstration: Demonstration) -> None:
    console = errors()
    progress = LiveProgress(console) if console.is_terminal else PlainProgress(console)
    stop = asyncio.Event()
    on_stop_signals(stop.set)
    authority = _prepare(plan, progress)
    stack = Stack(plan, authority)
    await asyncio.to_thread(render_edge, stack.edge_environment(), stack.edge_configuration)
    with guarded_groups() as groups:
        keeper = StateKeeper(plan, progress)
        supervisor = Supervisor(stack.stages(), groups=groups, report=keeper.change)
        keeper.supervisor = supervisor
        try:
            async with keeper.catching_up():
                with _shown(progress):
                    await _start(supervisor, stop, progress)
                if stop.is_set():
                    raise KeyboardInterrupt
                async with _control(plan, stack, supervisor).listening():
                    await _run(plan, demonstration, stop, progress)
        finally:
            await supervisor.stop()


def _control(plan: StackPlan, stack: Stack, supervisor: Supervisor) -> ControlServer:
    """What changes the replicas when it is told to."""
    edge = EdgePools(EndpointFiles.beside(stack.edge_configuration), stack.edge_admin)
    membership = Membership(stack.pools, supervisor, edge, stack.replica, plan.kv_bytes)
    return ControlServer(plan.home.control_path, membership.make, membership.replicas)


def _prepare(plan: StackPlan, progress: Progress) -> CertificateAuthority:
    """Makes what the processes need to find."""
    authority = open_authority(plan.home)
    issued = issue_missing(authority)
    if issued:
        progress.step(f"certificates issued: {', '.join(issued)}")
    served = ", ".join(f"model {pool.model.name}, {len(pool.cores)} replica(s)" for pool in plan.pools)
    progress.step(f"{served}, logs in {plan.home.path / 'logs'}")
    return authority


def _shown(progress: Progress) -> AbstractContextManager[object]:
    return progress if isinstance(progress, LiveProgress) else nullcontext()


async def _start(supervisor: Supervisor, stop: asyncio.Event, progress: Progress) -> None:
    """Starts everything, unless told to stop meanwhile.

    Raises:
        CommandError: A process did not start.
    """
    starting = asyncio.ensure_future(supervisor.start())
    stopping = asyncio.ensure_future(stop.wait())
    try:
        while not starting.done() and not stopping.done():
            await asyncio.wait(
                {starting, stopping}, timeout=LOOK_SECONDS, return_when=asyncio.FIRST_COMPLETED
            )
            progress.remind(supervisor.steps())
        if starting.done():
            starting.result()
    except StartFailed as error:
        message = f"{error}."
        raise CommandError(message, f"Its log has more: logs/{error.name}.log.", ExitCode.MACHINE) from None
    finally:
        stopping.cancel()
        starting.cancel()
        with contextlib.suppress(asyncio.CancelledError, StartFailed):
            await starting


async def _run(
    plan: StackPlan, demonstration: Demonstration, stop: asyncio.Event, progress: Progress
) -> None:
    """Tells where it answers, asks what it was given, and waits."""
    address = local_address(plan.edge_address)
    told_to = errors() if demonstration.then_stop else answers()  # --once: nothing but the answer on stdout
    told_to.print(f"Parley answers at https://{address}", soft_wrap=True)
    told_to.print(f"Sign in as admin; the password is in {plan.home.password_path}", soft_wrap=True)
    if demonstration.text:
        asking = asyncio.ensure_future(_ask(plan, demonstration.text))
        stopping = asyncio.ensure_future(stop.wait())
        await asyncio.wait({asking, stopping}, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if not asking.done():
            asking.cancel()
            raise KeyboardInterrupt
        asking.result()
    if not demonstration.then_stop:
        progress.step("Ctrl-C ends it")
        await stop.wait()
    progress.step("draining")


async def _ask(plan: StackPlan, text: str) -> None:
    """Asks through the edge, as any client would, and shows the answer."""
    printer = AnswerPrinter()
    printer.question(text)
    channel = open_channel(local_address(plan.edge_address), authority=plan.home.authority_path)
    async with Client(channel) as client:
        client.credentials = await local_login(plan.home, client)
        async with client.chat(question(text)) as events:
            async for event in events:
                printer.show(event)
