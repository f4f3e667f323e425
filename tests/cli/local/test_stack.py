import json
import stat
from dataclasses import replace
from pathlib import Path

import pytest

from cli.failures import CommandError
from cli.home import Home
from cli.local.certificates import issue_missing, open_authority
from cli.local.child import ChildSpec
from cli.local.model import ModelChoice
from cli.local.pools import Pool
from cli.local.probes import local_address
from cli.local.resources import CoreShare
from cli.local.stack import Stack, StackPlan
from services.rpc.addresses import Addresses


@pytest.fixture
def plan(tmp_path: Path) -> StackPlan:
    environment = {
        "PATH": "/bin",
        "MY_SECRET": "s",
        "HF_TOKEN": "hub",
        "EXTRA": "e",
        "PARLEY_TOOLS_LOG_LEVEL": "DEBUG",
        "PARLEY_WEB_LISTEN_ADDRESS": "127.0.0.1:5555",
    }
    model = ModelChoice(str(tmp_path), "toy")
    cores = (CoreShare((1,)), CoreShare((2,)))
    return StackPlan(
        Home(tmp_path / "home"), (Pool(model, cores),), 2**28, environment, pass_variables="EXTRA"
    )


@pytest.fixture
def stack(plan: StackPlan) -> Stack:
    authority = open_authority(plan.home)
    issue_missing(authority)
    return Stack(plan, authority)


@pytest.fixture
def specs(stack: Stack) -> dict[str, ChildSpec]:
    return {spec.name: spec for stage in stack.stages() for spec in stage}


def test_the_edge_comes_last_and_the_stores_end_last(stack: Stack) -> None:
    stages = [[spec.name for spec in stage] for stage in stack.stages()]
    assert stages == [["store", "cache"], ["auth", "inference-1", "inference-2", "tools", "web"], ["edge"]]
    ranks = {spec.name: spec.stop_rank for stage in stack.stages() for spec in stage}
    assert ranks["inference-1"] < ranks["tools"] < ranks["auth"] <= ranks["edge"] < ranks["store"]


def test_a_process_gets_its_own_settings_and_nobody_else_s(specs: dict[str, ChildSpec]) -> None:
    assert specs["tools"].environment["PARLEY_TOOLS_LOG_LEVEL"] == "DEBUG"
    for name, prefix in (("auth", "PARLEY_AUTH_"), ("tools", "PARLEY_TOOLS_"), ("web", "PARLEY_WEB_")):
        ours = [key for key in specs[name].environment if key.startswith("PARLEY_")]
        assert all(key.startswith(prefix) for key in ours)
    assert not any("MY_SECRET" in spec.environment for spec in specs.values())
    assert [name for name, spec in specs.items() if "HF_TOKEN" in spec.environment] == [
        "inference-1",
        "inference-2",
    ]
    assert all(spec.environment["EXTRA"] == "e" for spec in specs.values())


@pytest.mark.parametrize("store", ["store", "cache"])
def test_a_store_s_password_is_in_no_argument_and_in_a_private_file(
    specs: dict[str, ChildSpec], plan: StackPlan, store: str
) -> None:
    url = specs["inference-1"].environment[f"PARLEY_INFERENCE_{store.upper()}_URL"]
    password = url.partition("redis://:")[2].partition("@")[0]
    assert len(password) > 30
    for spec in specs.values():
        assert password not in " ".join(spec.command)
        assert password not in repr(spec)
    configuration = plan.home.path / store / "store.conf"
    assert stat.S_IMODE(configuration.stat().st_mode) == 0o600
    assert f"requirepass {password}" in configuration.read_text()
    assert "bind 127.0.0.1\n" in configuration.read_text()


def test_only_the_cache_may_forget(specs: dict[str, ChildSpec], plan: StackPlan) -> None:
    policies = {name: (plan.home.path / name / "store.conf").read_text() for name in ("store", "cache")}
    assert "maxmemory-policy noeviction\n" in policies["store"]
    assert "maxmemory-policy allkeys-lru\n" in policies["cache"]
    assert "appendonly yes\n" in policies["store"]
    assert "appendonly no\n" in policies["cache"]
    users = [name for name, spec in specs.items() if "PARLEY_INFERENCE_CACHE_URL" in spec.environment]
    assert users == ["inference-1", "inference-2"]


def test_replicas_have_ports_cores_and_memory_of_their_own(specs: dict[str, ChildSpec]) -> None:
    first, second = specs["inference-1"].environment, specs["inference-2"].environment
    assert first["PARLEY_INFERENCE_LISTEN_ADDRESS"] != second["PARLEY_INFERENCE_LISTEN_ADDRESS"]
    assert (first["VLLM_CPU_OMP_THREADS_BIND"], second["VLLM_CPU_OMP_THREADS_BIND"]) == ("1", "2")
    assert first["PARLEY_INFERENCE_KV_CACHE_BYTES"] == str(2**28)
    assert first["HF_HUB_OFFLINE"] == "1"


def test_the_edge_and_auth_know_every_replica(stack: Stack, specs: dict[str, ChildSpec]) -> None:
    replicas = [specs[name].address for name in ("inference-1", "inference-2")]
    edge = stack.edge_environment()
    assert json.loads(edge["PARLEY_EDGE_MODELS"]) == {"toy": replicas}
    assert edge["PARLEY_EDGE_WEB_ADDRESS"] == "127.0.0.1:5555"
    observed = json.loads(specs["auth"].environment["PARLEY_AUTH_OBSERVED"])
    (followed,) = observed["parley.inference.v1.InferenceService"]
    assert followed.startswith("inference@file:")
    assert Addresses(followed.removeprefix("inference@")).all() == tuple(replicas)


@pytest.mark.parametrize(
    ("asked", "where"),
    [
        (None, "unix:{home}/run/edge-admin.sock"),
        ("unix:here.sock", "unix:{home}/here.sock"),
        ("127.0.0.1:9901", "127.0.0.1:9901"),
    ],
)
def test_the_edge_is_told_where_the_person_put_its_admin_interface(
    plan: StackPlan, asked: str | None, where: str
) -> None:
    environment = {**plan.environment, **({"PARLEY_EDGE_ADMIN_ADDRESS": asked} if asked else {})}
    admin = Stack(replace(plan, environment=environment), open_authority(plan.home)).edge_admin
    assert admin.address == where.format(home=plan.home.path)


def test_each_model_has_a_pool_of_its_own(plan: StackPlan, stack: Stack) -> None:
    other = Pool(ModelChoice("org/other", "other"), (CoreShare((3,)),))
    both = Stack(replace(plan, pools=(*plan.pools, other)), open_authority(plan.home))
    specs = {spec.name: spec for stage in both.stages() for spec in stage}
    first, second, third = (specs[f"inference-{number}"] for number in (1, 2, 3))
    models = json.loads(both.edge_environment()["PARLEY_EDGE_MODELS"])
    assert models == {"toy": [first.address, second.address], "other": [third.address]}
    assert next(iter(models)) == "toy"
    assert third.environment["PARLEY_INFERENCE_MODEL"] == "org/other"
    assert third.environment["PARLEY_INFERENCE_MODEL_NAME"] == "other"
    assert "HF_HUB_OFFLINE" not in third.environment
    assert third.environment["VLLM_CPU_OMP_THREADS_BIND"] == "3"
    asked = specs["tools"].environment["PARLEY_TOOLS_INFERENCE_ADDRESS"]
    assert Addresses(asked).target() == f"ipv4:{first.address},{second.address}"
    further = json.loads(specs["tools"].environment["PARLEY_TOOLS_INFERENCE_POOLS"])
    assert {name: Addresses(told).target() for name, told in further.items()} == {"other": third.address}


def test_a_later_replica_is_like_the_first_but_for_its_name_port_cores_and_source(
    stack: Stack, specs: dict[str, ChildSpec], tmp_path: Path
) -> None:
    fresh = stack.pools.another(ModelChoice(str(tmp_path / "new"), "toy"), CoreShare((7,)))
    later, first = stack.replica(fresh), specs["inference-1"]
    assert (later.name, later.address) == ("inference-3", fresh.address)
    differ = {key for key, value in later.environment.items() if first.environment.get(key) != value}
    assert differ == {
        "PARLEY_INFERENCE_LISTEN_ADDRESS",
        "PARLEY_INFERENCE_MODEL",
        "VLLM_CPU_OMP_THREADS_BIND",
    }
    assert later.environment["PARLEY_INFERENCE_MODEL"] == str(tmp_path / "new")


def test_a_pool_and_a_replica_are_found_by_name_or_the_person_is_told_what_there_is(stack: Stack) -> None:
    (pool,) = stack.pools
    assert stack.pools.find("") is stack.pools.find("toy") is pool
    assert stack.pools.of("inference-2") == (pool, pool.replicas[1])
    with pytest.raises(CommandError) as no_pool:
        stack.pools.find("other")
    assert (no_pool.value.message, no_pool.value.remedy) == ("No pool serves other.", "There are: toy.")
    with pytest.raises(CommandError, match="There is no replica inference-9"):
        stack.pools.of("inference-9")


async def test_nothing_that_is_not_there_is_ready(specs: dict[str, ChildSpec]) -> None:
    for name in ("store", "auth", "inference-1", "edge"):
        assert await specs[name].is_ready() is False
    with pytest.raises(OSError, match=r"refused|Connect call failed"):
        await specs["web"].is_ready()


def test_this_machine_reaches_a_listener_of_all_addresses() -> None:
    assert local_address("0.0.0.0:8443") == "127.0.0.1:8443"
    assert local_address("[::]:8443") == "127.0.0.1:8443"
    assert local_address("10.0.0.1:8443") == "10.0.0.1:8443"
