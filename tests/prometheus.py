"""A real Prometheus that scrapes a running platform, as the guide says that it does."""

from __future__ import annotations

import math
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import yaml

from cli.local.preflight import free_port
from tests.deploy.queries import GUIDE, RULES

PROGRAM = shutil.which(Path(sys.executable).with_name("prometheus")) or shutil.which("prometheus")
SCRAPE_SECONDS = 1
END_SECONDS = 30
READY = "Server is ready to receive web requests."
ADDRESSES = {
    "parley-auth": "PARLEY_AUTH_METRICS_ADDRESS",
    "parley-tools": "PARLEY_TOOLS_METRICS_ADDRESS",
    "parley-inference": "PARLEY_INFERENCE_METRICS_ADDRESS",
    "parley-edge": "PARLEY_EDGE_ADMIN_ADDRESS",
}
"""The settings that say where each job's process tells its metrics."""


def metrics_settings() -> dict[str, str]:
    """Settings with which each process of a stack tells its metrics on a free port."""
    return {setting: f"127.0.0.1:{free_port()}" for setting in ADDRESSES.values()}


class Prometheus:
    """One that runs."""

    def __init__(self, address: str) -> None:
        self._http = httpx.Client(base_url=f"http://{address}")

    def shows(self, query: str) -> bool:
        """Whether a query gives a number."""
        answer = self._http.get("/api/v1/query", params={"query": query}).json()
        assert answer["status"] == "success", (query, answer)
        return any(not math.isnan(float(sample["value"][1])) for sample in answer["data"]["result"])


@contextmanager
def running_prometheus(folder: Path, settings: Mapping[str, str]) -> Iterator[Prometheus]:
    """A Prometheus until the block's end, with the guide's jobs and our rules.

    Args:
        folder: Where it keeps everything.
        settings: Those that the platform was started with.
    """
    assert PROGRAM is not None
    address = f"127.0.0.1:{free_port()}"
    command = (
        *(PROGRAM, f"--config.file={_configuration(folder, settings)}"),
        *(f"--storage.tsdb.path={folder / 'data'}", f"--web.listen-address={address}"),
    )
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    said: list[str] = []
    for line in process.stderr:
        said.append(line)
        if READY in line:
            break
    else:
        raise AssertionError("Prometheus ended:\n" + "".join(said))
    # It says more later, which somebody must take.
    reading = threading.Thread(target=lambda: said.extend(process.stderr), daemon=True)
    reading.start()
    try:
        yield Prometheus(address)
    finally:
        process.terminate()
        process.wait(END_SECONDS)
        reading.join()
        process.stderr.close()


def _configuration(folder: Path, settings: Mapping[str, str]) -> Path:
    """The guide's, with this platform's addresses, and everything as often as a test needs it."""
    (block,) = re.findall(r"```yaml\n(rule_files: .*?)```", GUIDE, re.DOTALL)
    configuration: dict[str, Any] = yaml.safe_load(block)
    rules = folder / "rules.yaml"
    groups = [{**group, "interval": f"{SCRAPE_SECONDS}s"} for group in RULES["groups"]]
    rules.write_text(yaml.safe_dump({"groups": groups}))
    configuration |= {"rule_files": [str(rules)]}
    configuration["global"] = {"scrape_interval": f"{SCRAPE_SECONDS}s"}
    for job in configuration["scrape_configs"]:
        job["static_configs"] = [{"targets": [settings[ADDRESSES[job["job_name"]]]]}]
    path = folder / "prometheus.yaml"
    path.write_text(yaml.safe_dump(configuration))
    return path
