"""What the rendered configuration says."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.envoy.clusters import affine
from deploy.envoy.contract import Method, load_contract
from deploy.envoy.endpoints import EndpointFiles, pool
from deploy.envoy.filters import Scope
from deploy.envoy.render import bootstrap, main, write
from deploy.envoy.settings import EdgeSettings
from deploy.envoy.tls import SecretFiles, watched
from deploy.envoy.tree import Tree, address_of, seconds
from services.rpc.tls import TlsFiles
from tests.edge.conftest import Identity, edge_settings
from tests.edge.front import ENVOY

CONTRACT = load_contract()
FILES = TlsFiles(Path("/tls/certificate.pem"), Path("/tls/key.pem"), Path("/tls/authority.pem"))
MODELS = {"demo": ["127.0.0.1:7003"], "org/Large-2": ["large-0.svc:443", "large-1.svc:443"]}


def rendered(**changes: Any) -> Tree:
    settings = edge_settings(
        FILES, Path("/log"), **{"models": MODELS, "web_address": "127.0.0.1:7004", **changes}
    )
    scope = Scope(settings, CONTRACT, Path("/edge/descriptors.binpb"))
    return bootstrap(scope, SecretFiles(Path("/edge/sds")), EndpointFiles(Path("/edge/endpoints")))


def routes(tree: Tree) -> list[Tree]:
    manager = tree["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"]
    found: list[Tree] = manager["route_config"]["virtual_hosts"][0]["routes"]
    return found


def route(tree: Tree, path: str) -> Tree:
    return next(route for route in routes(tree) if route["match"].get("path") == path)


def cluster(tree: Tree, name: str) -> Tree:
    return next(cluster for cluster in tree["static_resources"]["clusters"] if cluster["name"] == name)


def test_rendering_is_repeatable_and_plain_data() -> None:
    tree = rendered()
    assert tree == rendered()
    assert json.loads(json.dumps(tree)) == tree


def test_every_method_has_its_routes_and_its_model_s() -> None:
    tree = rendered()
    for method in CONTRACT.methods:
        clusters = [
            route["route"]["cluster"] for route in routes(tree) if route["match"].get("path") == method.path
        ]
        assert clusters == expected_clusters(method), method.path


def expected_clusters(method: Method) -> list[str]:
    if method.server != "inference":
        return [method.server]
    # A conversation's stream keeps its replica.
    demo, large = (
        [*([affine(model)] if method.streams else []), pool(model)] for model in ("demo", "org/Large-2")
    )
    by_body = [*demo, *large] if method.service.endswith(".OpenAIService") else []
    return [*by_body, *demo, *large, *demo]


def test_a_conversation_is_hashed_to_a_replica_with_a_bound() -> None:
    tree = rendered()
    of_one = [route for route in routes(tree) if "hash_policy" in route.get("route", {})]
    assert {route["route"]["cluster"] for route in of_one} == {affine("demo"), affine("org/Large-2")}
    for route in of_one:
        header = {"name": "parley-conversation", "present_match": True}
        assert header in route["match"]["headers"]
        assert route["route"]["hash_policy"] == [{"header": {"header_name": "parley-conversation"}}]
    made = cluster(tree, affine("org/Large-2"))
    assert made["lb_policy"] == "MAGLEV"
    assert made["common_lb_config"]["consistent_hashing_lb_config"]["hash_balance_factor"] == 150
    assert (
        made["load_assignment"]["endpoints"]
        == cluster(tree, pool("org/Large-2"))["load_assignment"]["endpoints"]
    )


def test_the_replicas_of_a_pool_of_addresses_come_from_a_file_for_both_of_its_clusters(
    tmp_path: Path,
) -> None:
    tree = rendered()
    pair = cluster(tree, pool("demo")), cluster(tree, affine("demo"))
    (source,) = {json.dumps(each["eds_cluster_config"], sort_keys=True) for each in pair}
    path = json.loads(source)["eds_config"]["path_config_source"]["path"]
    assert path == f"/edge/endpoints/{pool('demo')}.yaml"
    for each in pair:
        assert (each["type"], each["ignore_health_on_host_removal"]) == ("EDS", True)
        assert "load_assignment" not in each
    # Host names are looked up again by Envoy itself.
    assert cluster(tree, pool("org/Large-2"))["type"] == "STRICT_DNS"
    files = EndpointFiles(tmp_path / "endpoints")
    files.write_all(MODELS)
    assert list(files.folder.iterdir()) == [files.path("demo")]
    (resource,) = yaml.safe_load(files.path("demo").read_text())["resources"]
    assert resource["cluster_name"] == pool("demo")


def test_streams_have_no_timeout_and_unary_calls_have_one() -> None:
    tree = rendered()
    for method in CONTRACT.methods:
        assert route(tree, method.path)["route"]["timeout"] == ("0s" if method.streams else "60s"), (
            method.path
        )


def test_only_idempotent_calls_are_sent_twice() -> None:
    tree = rendered()
    for method in CONTRACT.methods:
        conditions = route(tree, method.path)["route"]["retry_policy"]["retry_on"].split(",")
        assert ("reset" in conditions) == (method.idempotent and not method.streams), method.path
        assert "connect-failure" in conditions


def test_exactly_the_anonymous_methods_need_no_token() -> None:
    tree = rendered()
    check = "envoy.filters.http.jwt_authn"
    open_methods = {
        route["match"]["path"]
        for route in routes(tree)
        if "path" in route["match"]
        and "route" in route  # a direct response leads nowhere
        and route.get("typed_per_filter_config", {}).get(check, {}).get("disabled")
    }
    assert open_methods == {method.path for method in CONTRACT.methods if not method.needs_token}


def test_a_path_outside_the_api_takes_the_verbs_of_its_methods_alone() -> None:
    tree = rendered()
    own = [entry for entry in routes(tree) if "/mcp" in entry["match"].values()]
    refused, *taken = own
    assert refused["direct_response"] == {"status": 405}
    verbs = {header["string_match"]["exact"] for header in refused["match"]["headers"]}
    assert verbs == {"POST", "OPTIONS"}
    assert all(header["invert_match"] for header in refused["match"]["headers"])
    assert len(taken) == 2
    assert all("cluster_header" in entry["route"] for entry in taken)


def test_only_methods_that_speak_http_set_the_status_of_their_answer() -> None:
    statuses = "envoy.filters.http.lua.statuses"
    tree = rendered()
    setting = {
        entry["match"]["path"]
        for entry in routes(tree)
        if statuses in entry.get("typed_per_filter_config", {}) and "path" in entry["match"]
    }
    openai = {method.path for method in CONTRACT.methods if method.service.endswith(".OpenAIService")}
    assert setting - openai == {
        method.path for method in CONTRACT.methods if method.speaks_http and method.path not in openai
    }
    assert openai < setting


def test_the_bodies_of_openais_paths_alone_are_read_for_their_model() -> None:
    reader = "envoy.filters.http.json_to_metadata"
    tree = rendered()
    reading = [entry["match"] for entry in routes(tree) if reader in entry.get("typed_per_filter_config", {})]
    assert [match["prefix"] for match in reading] == ["/v1/"]
    manager = tree["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"]
    assert [entry["disabled"] for entry in manager["http_filters"] if entry["name"] == reader] == [True]


def test_every_service_is_asked_for_its_own_name() -> None:
    tree = rendered(trust_domain="mesh.example")
    expected = {
        "auth": ("auth", "h2"),
        "tools": ("tools", "h2"),
        pool("demo"): ("inference", "h2"),
        pool("org/Large-2"): ("inference", "h2"),
        "web": ("web", "http/1.1"),
    }
    for name, (service, protocol) in expected.items():
        tls = cluster(tree, name)["transport_socket"]["typed_config"]
        context = tls["common_tls_context"]
        names = context["combined_validation_context"]["default_validation_context"]
        assert tls["sni"] == f"{service}.mesh.example"
        assert context["alpn_protocols"] == [protocol]
        assert names["match_typed_subject_alt_names"] == [
            {"san_type": "URI", "matcher": {"exact": f"spiffe://mesh.example/{service}"}}
        ]


def test_pools_with_like_names_are_two() -> None:
    assert pool("org/Large-2") != pool("ORG.large.2")


def test_host_names_are_looked_up_and_addresses_are_not() -> None:
    tree = rendered()
    assert cluster(tree, "auth")["type"] == "STATIC"
    assert cluster(tree, pool("org/Large-2"))["type"] == "STRICT_DNS"


def test_without_a_page_its_path_is_unknown() -> None:
    tree = rendered(web_address="")
    assert "web" not in [cluster["name"] for cluster in tree["static_resources"]["clusters"]]
    assert "cluster_header" in routes(tree)[-1]["route"]


def test_the_admin_interface_is_off_unless_asked_for() -> None:
    assert "admin" not in rendered()
    address = rendered(admin_address="unix:/run/admin.sock")["admin"]["address"]
    assert address == {"pipe": {"path": "/run/admin.sock", "mode": 0o600}}


def test_a_proxy_in_front_may_say_who_calls() -> None:
    assert "x-forwarded-for" in str(rendered())
    assert "x-forwarded-for" not in str(rendered(trusted_hops=1))


@pytest.mark.parametrize(("value", "expected"), [(1, "1s"), (0.5, "0.5s"), (3600, "3600s"), (0.1, "0.1s")])
def test_durations(value: float, expected: str) -> None:
    assert seconds(value) == expected


def test_addresses() -> None:
    assert address_of("[::1]:80") == {"socket_address": {"address": "::1", "port_value": 80}}
    assert address_of("unix:@name") == {"pipe": {"path": "@name"}}


def test_the_folder_that_changes_is_watched(tmp_path: Path, identity: Identity) -> None:
    plain = tmp_path / "certificate.pem"
    assert watched(plain) == tmp_path
    swapped = identity("edge").certificate
    assert watched(swapped) == swapped.parent.parent


@pytest.mark.parametrize("name", ["edge.yaml", "edge.json"])
def test_writing_replaces_whole_files(identity: Identity, tmp_path: Path, name: str) -> None:
    output = tmp_path / name
    output.write_text("before")
    settings = edge_settings(identity("edge"), tmp_path)
    write(settings, CONTRACT, output)
    tree = yaml.load(output.read_text(), Loader=yaml.CSafeLoader)
    assert tree["node"]["id"] == "edge"
    assert (tmp_path / "edge.descriptors.binpb").read_bytes() == CONTRACT.descriptor_set
    assert {path.name for path in (tmp_path / "sds").iterdir()} == {
        "edge-identity.yaml",
        "edge-public.yaml",
        "mesh-authority.yaml",
    }
    assert not [path for path in tmp_path.rglob("*") if path.name.startswith(".")]


def variables(settings: EdgeSettings) -> Iterator[tuple[str, str]]:
    for name, value in settings.model_dump(mode="json", exclude_unset=True).items():
        yield f"PARLEY_EDGE_{name.upper()}", value if isinstance(value, str) else json.dumps(value)


def command(output: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """The command as people run it, with these variables."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PARLEY_")}
    arguments = [sys.executable, "-m", "deploy.envoy.render", "--output", str(output)]
    return subprocess.run(
        arguments, env={**kept, **environment}, capture_output=True, text=True, timeout=60, check=False
    )


@pytest.mark.slow
def test_the_command_renders_what_envoy_takes(identity: Identity, tmp_path: Path) -> None:
    told = {"models": MODELS, "web_address": "127.0.0.1:7004", "admin_address": "unix:/tmp/none.sock"}
    settings = edge_settings(identity("edge"), tmp_path, **told)
    output = tmp_path / "edge.yaml"
    done = command(output, **dict(variables(settings)))
    assert (done.returncode, done.stderr) == (0, "")
    checked = subprocess.run(
        [ENVOY, "--mode", "validate", "-c", output], capture_output=True, text=True, timeout=60, check=False
    )
    assert checked.returncode == 0, checked.stderr
    assert "OK" in checked.stdout + checked.stderr


@pytest.mark.slow
def test_the_command_names_an_unknown_setting(identity: Identity, tmp_path: Path) -> None:
    settings = edge_settings(identity("edge"), tmp_path)
    done = command(tmp_path / "edge.yaml", PARLEY_EDGE_MODEL="{}", **dict(variables(settings)))
    assert done.returncode == 2
    assert "did you mean PARLEY_EDGE_MODELS?" in done.stderr
    assert not (tmp_path / "edge.yaml").exists()


def test_the_command_tells_of_missing_certificates(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in variables(edge_settings(FILES, tmp_path)):
        monkeypatch.setenv(name, value)
    assert main(["--output", str(tmp_path / "edge.yaml")]) == 1
    assert "secret edge-identity: cannot be loaded" in capsys.readouterr().err
