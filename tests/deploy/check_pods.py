"""The pods of `overlays/demo`, played: `make test-pods`.

There is no cluster: `pods.py` makes of the manifests what a cluster makes, and Podman starts it (`node.py`).
The database and the stores stand outside, as they do in production, and are Compose's.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator

import pytest

from tests.deploy.composed import composed
from tests.deploy.manifests import KUBECTL, kustomized
from tests.deploy.node import NODE, Node
from tests.deploy.pods import pods, secrets
from tests.deploy.questions import CHECK, Questions, answer

pytestmark = [
    *CHECK,
    pytest.mark.skipif(KUBECTL is None, reason="issue 6: kubectl is not on every machine"),
]


@pytest.fixture(scope="module")
def platform(images: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    overlay = kustomized("demo")
    with composed(NODE, tmp_path_factory.mktemp("composed")) as outside:
        node = Node(outside, pods(overlay), "demo")
        node.load_images()
        node.take(secrets(overlay, outside.folder / "secrets"))
        node.start(node.pods)
        asyncio.run(node.ready(node.pods))
        print(f"{len(node.pods)} pods ready {outside.seconds:.1f} s after the node was begun")
        yield node


async def test_a_question_is_answered(platform: Node) -> None:
    assert "391" in await answer(await platform.admin())


class TestPods(Questions):
    """The same as of Compose's variants."""


def test_none_was_started_twice(platform: Node) -> None:
    restarts = {pod.name: platform.described(pod)["RestartCount"] for pod in platform.pods}
    assert restarts == dict.fromkeys(restarts, 0)


def test_they_have_the_memory_that_the_manifests_allow(platform: Node) -> None:
    for pod in platform.pods:
        number, unit = re.fullmatch(r"(\d+)(Mi|Gi)", pod.container["resources"]["limits"]["memory"]).groups()
        allowed = int(number) << {"Mi": 20, "Gi": 30}[unit]
        assert platform.described(pod)["HostConfig"]["Memory"] == allowed, pod.name


async def test_evicting_pod_after_pod_under_load_loses_no_call(platform: Node) -> None:
    """As when nodes are drained: one at a time, with the manifests' probes, hooks and graces."""
    done, failed, over = 0, [], asyncio.Event()

    async def call() -> None:
        nonlocal done
        async with await platform.admin() as client:
            while not over.is_set():
                try:
                    await client.list_tools()
                    done += 1
                except Exception as error:
                    failed.append(repr(error))

    calls = asyncio.gather(*(call() for _ in range(4)))
    for pod in platform.pods:
        if pod.workload in ("auth", "tools"):
            await platform.end([pod])
            platform.remove([pod])
            platform.start([pod])
            await platform.ready([pod])
    over.set()
    await calls
    print(f"{done} calls while four pods were evicted, one after the other")
    assert failed == []
    assert done > 0


async def test_they_end_well(platform: Node) -> None:
    await platform.end(platform.pods)
    ended = {pod.name: platform.described(pod)["State"] for pod in platform.pods}
    assert {name: state["ExitCode"] for name, state in ended.items()} == dict.fromkeys(ended, 0)
    assert not [name for name, state in ended.items() if state["OOMKilled"]]
