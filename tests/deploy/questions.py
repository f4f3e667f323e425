"""What each platform in containers is asked, and how those of Compose have to stand and end.

A check inherits the class, and gives the platform by its fixture.
"""

from __future__ import annotations

import json
import time
from pathlib import Path

import httpx
import pytest
from openai import AsyncOpenAI, DefaultAsyncHttpxClient

from parley_client.client import Client, question
from tests.chromium import log_in_and_be_answered
from tests.deploy.composed import DOCKER, Composed, engine_answers
from tests.deploy.reached import Reached

CHECK = [
    pytest.mark.slow,
    pytest.mark.timeout(3600),
    pytest.mark.skipif(
        not engine_answers(),
        reason=f"issue 6: `{DOCKER}` reaches no container engine; deploy/docker/engine.sh brings one",
    ),
]
"""The marks of a check."""

QUESTION = "What is 17 * 23?"


async def answer(client: Client) -> str:
    """What the model says to the question, its calls of tools played."""
    async with client, client.chat(question(QUESTION), timeout_seconds=120) as events:
        return "".join([event.content_delta.text async for event in events])


class Questions:
    """Asked of a platform that is up, from within and through its edge."""

    def test_what_they_are_denied_is_denied(self, platform: Reached) -> None:
        """As seen from inside: who one is, what one may, and what may be written."""
        script = (
            "import os, re\n"
            "status = open('/proc/self/status').read()\n"
            "print(os.getuid(), int(re.search(r'CapEff:\\s*(\\w+)', status)[1], 16), os.access('/', os.W_OK),"
            " os.access('/opt', os.W_OK), os.statvfs('/').f_flag & os.ST_RDONLY)"
        )
        for service in platform.own:
            seen = platform.inside(service, "python", "-c", script)
            assert seen.split() == ["10001", "0", "False", "False", "1"], service

    async def test_openais_client_is_answered_with_a_key(self, platform: Reached) -> None:
        async with await platform.admin() as admin:
            key = await admin.create_key("images")
        http = DefaultAsyncHttpxClient(verify=platform.trust)
        base = f"https://{platform.address}/v1"
        async with AsyncOpenAI(base_url=base, api_key=key.secret, http_client=http, max_retries=0) as client:
            assert [model.id async for model in client.models.list()] == [platform.model]
            completion = await client.chat.completions.create(
                model=platform.model,
                messages=[{"role": "user", "content": QUESTION}],
                temperature=0,
                extra_body={"parley": {"server_tools": {"names": ["calculator"]}}},
            )
        assert "391" in (completion.choices[0].message.content or "")
        assert completion.choices[0].finish_reason == "stop"

    async def test_the_page_and_health_are_served(self, platform: Reached) -> None:
        base = f"https://{platform.address}"
        async with httpx.AsyncClient(verify=platform.trust, base_url=base) as http:
            page, health = await http.get("/", follow_redirects=True), await http.get("/healthz")
        assert (page.status_code, "Parley" in page.text, health.status_code) == (200, True, 200)

    async def test_a_person_is_answered_on_the_page(self, platform: Reached, tmp_path: Path) -> None:
        picture = tmp_path / "page.png"
        await log_in_and_be_answered(
            platform.page, platform.password, picture, platform.model, platform.browser_flags
        )
        assert picture.stat().st_size > 0

    async def test_code_runs_in_its_sandbox(self, platform: Reached) -> None:
        """Landlock, as bubblewrap cannot work under the engine's own filter of system calls."""
        async with await platform.admin() as admin:
            [tool] = [each for each in await admin.list_tools() if each.name == "python_run"]
        assert tool.unavailable == ""


class ComposedQuestions(Questions):
    """Asked also of what Compose brought up."""

    def test_each_runs_as_nobody_read_only_without_capabilities(self, platform: Composed) -> None:
        containers = platform.containers()
        users = {name: container["Config"]["User"] for name, container in containers.items()}
        assert users == platform.variant.users
        for name, container in containers.items():
            host = container["HostConfig"]
            assert container["State"]["Health"]["Status"] == "healthy", name
            assert (host["ReadonlyRootfs"], host["CapDrop"], host["Privileged"]) == (True, ["ALL"], False), (
                name
            )
            assert container["RestartCount"] == 0, name

    def test_only_the_edge_is_published(self, platform: Composed) -> None:
        published = {
            name: sorted(port for port, hosts in container["NetworkSettings"]["Ports"].items() if hosts)
            for name, container in platform.containers().items()
        }
        assert {name: ports for name, ports in published.items() if ports} == {"edge": ["8443/tcp"]}


def end_well_and_leave_nothing(platform: Composed) -> None:
    """Stops a platform: each container by itself, with status 0, and nothing is left of it."""
    began = time.monotonic()
    platform.compose("stop", timeout_seconds=300)
    print(f"stopped after {time.monotonic() - began:.1f} s")
    ended = {name: container["State"] for name, container in platform.containers().items()}
    assert {name: state["ExitCode"] for name, state in ended.items()} == dict.fromkeys(
        platform.variant.users, 0
    )
    assert not [name for name, state in ended.items() if state["OOMKilled"]], json.dumps(ended)
    platform.down()
    assert platform.left() == []
