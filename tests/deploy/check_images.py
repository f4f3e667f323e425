"""The images built, and Compose's `embedded` profile brought up of them: `make test-images`.

It takes a container engine, 15 GB and many minutes the first time: too long for every change. What is written
down is tested with every change, in `test_images.py` and `test_compose.py`. Where there is no engine,
`deploy/docker/engine.sh up && deploy/docker/engine.sh run make test-images` brings one.
"""

from __future__ import annotations

import json
import re
import subprocess
import time
from collections.abc import Iterator

import httpx
import pytest
from openai import AsyncOpenAI, DefaultAsyncHttpxClient

from parley_client.client import Client, question
from tests.deploy.composed import DOCKER, Composed, composed, engine_answers
from tests.deploy.imports import ROOT

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(3600),
    pytest.mark.skipif(
        not engine_answers(),
        reason=f"issue 6: `{DOCKER}` reaches no container engine; deploy/docker/engine.sh brings one",
    ),
]

SIZES_MIB = {"store": 250, "auth": 250, "web": 250, "edge": 250, "tools": 350, "inference-cpu": 1536}
"""Compressed, at most. Issue 6 asks for those of auth, web and tools."""

SERVICES = {"store", "cache", "auth", "tools", "inference", "web", "edge"}
FIRST_ANSWER_SECONDS = 90
QUESTION = "What is 17 * 23?"


@pytest.fixture(scope="module")
def sizes() -> dict[str, int]:
    """Builds the images, and gives their compressed sizes in MiB."""
    built = subprocess.run(
        [ROOT / "deploy" / "docker" / "build.sh", *SIZES_MIB], capture_output=True, text=True, check=False
    )
    assert built.returncode == 0, built.stderr
    print(built.stdout)
    return {name: int(size) for name, size in re.findall(r"/([\w-]+):\S+ +(\d+) MiB", built.stdout)}


@pytest.fixture(scope="module")
def platform(sizes: dict[str, int], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Composed]:
    with composed(tmp_path_factory.mktemp("composed")) as running:
        print(f"healthy after {time.monotonic() - running.began:.1f} s")
        yield running


async def answer(client: Client) -> str:
    """What the model says to the question, its calls of tools played."""
    async with client, client.chat(question(QUESTION), timeout_seconds=120) as events:
        return "".join([event.content_delta.text async for event in events])


def test_the_images_are_within_their_sizes(sizes: dict[str, int]) -> None:
    assert sizes.keys() == SIZES_MIB.keys()
    assert {name: size for name, size in sizes.items() if size > SIZES_MIB[name]} == {}


async def test_the_first_answer_comes_in_time(platform: Composed) -> None:
    text = await answer(await platform.admin())
    seconds = time.monotonic() - platform.began
    print(f"first answer after {seconds:.1f} s: {text}")
    assert "391" in text
    assert seconds <= FIRST_ANSWER_SECONDS


def test_each_runs_as_nobody_read_only_without_capabilities(platform: Composed) -> None:
    containers = platform.containers()
    assert containers.keys() == SERVICES
    for name, container in containers.items():
        host = container["HostConfig"]
        assert container["State"]["Health"]["Status"] == "healthy", name
        assert container["Config"]["User"] == "10001:10001", name
        assert (host["ReadonlyRootfs"], host["CapDrop"], host["Privileged"]) == (True, ["ALL"], False), name
        assert container["RestartCount"] == 0, name


def test_what_they_are_denied_is_denied(platform: Composed) -> None:
    """As seen from inside: who one is, what one may, and what may be written."""
    script = (
        "import os, re\n"
        "status = open('/proc/self/status').read()\n"
        "print(os.getuid(), int(re.search(r'CapEff:\\s*(\\w+)', status)[1], 16), os.access('/', os.W_OK),"
        " os.access('/opt', os.W_OK), os.statvfs('/').f_flag & os.ST_RDONLY)"
    )
    for service in SERVICES:
        seen = platform.compose("exec", "--no-TTY", service, "python", "-c", script)
        assert seen.split() == ["10001", "0", "False", "False", "1"], service


def test_only_the_edge_is_published(platform: Composed) -> None:
    published = {
        name: sorted(port for port, hosts in container["NetworkSettings"]["Ports"].items() if hosts)
        for name, container in platform.containers().items()
    }
    assert {name: ports for name, ports in published.items() if ports} == {"edge": ["8443/tcp"]}


async def test_openais_client_is_answered_with_a_key(platform: Composed) -> None:
    async with await platform.admin() as admin:
        key = await admin.create_key("images")
    http = DefaultAsyncHttpxClient(verify=platform.trust)
    base = f"https://{platform.address}/v1"
    async with AsyncOpenAI(base_url=base, api_key=key.secret, http_client=http, max_retries=0) as client:
        assert [model.id async for model in client.models.list()] == ["parley-demo"]
        completion = await client.chat.completions.create(
            model="parley-demo",
            messages=[{"role": "user", "content": QUESTION}],
            temperature=0,
            extra_body={"parley": {"server_tools": {"names": ["calculator"]}}},
        )
    assert "391" in (completion.choices[0].message.content or "")
    assert completion.choices[0].finish_reason == "stop"


async def test_the_page_and_health_are_served(platform: Composed) -> None:
    async with httpx.AsyncClient(verify=platform.trust, base_url=f"https://{platform.address}") as http:
        page, health = await http.get("/", follow_redirects=True), await http.get("/healthz")
    assert (page.status_code, "Parley" in page.text, health.status_code) == (200, True, 200)


async def test_code_runs_in_its_sandbox(platform: Composed) -> None:
    """Landlock, as bubblewrap cannot work under the engine's own filter of system calls."""
    async with await platform.admin() as admin:
        [tool] = [each for each in await admin.list_tools() if each.name == "python_run"]
    assert tool.unavailable == ""


def test_they_end_well_and_nothing_is_left(platform: Composed) -> None:
    began = time.monotonic()
    platform.compose("stop", timeout_seconds=300)
    print(f"stopped after {time.monotonic() - began:.1f} s")
    ended = {name: container["State"] for name, container in platform.containers().items()}
    assert {name: state["ExitCode"] for name, state in ended.items()} == dict.fromkeys(SERVICES, 0)
    assert not [name for name, state in ended.items() if state["OOMKilled"]], json.dumps(ended)
    platform.down()
    assert platform.left() == []
