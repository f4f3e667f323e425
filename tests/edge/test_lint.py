"""Each fault that Envoy's own validation lets pass is found."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.certificates import CertificateAuthority
from deploy.envoy.contract import load_contract
from deploy.envoy.endpoints import pool
from deploy.envoy.lint import lint, main
from deploy.envoy.render import write
from deploy.envoy.tree import Tree
from services.rpc.tls import TlsFiles
from tests.edge.conftest import Identity, edge_settings

CONTRACT = load_contract()


def loaded(path: Path) -> Tree:
    tree: Tree = yaml.load(path.read_text(), Loader=yaml.CSafeLoader)
    return tree


def _written(files: TlsFiles, folder: Path) -> Path:
    path = folder / "edge.yaml"
    write(edge_settings(files, folder, web_address="127.0.0.1:7004"), CONTRACT, path)
    return path


@pytest.fixture
def configuration(identity: Identity, tmp_path: Path) -> Path:
    """A configuration without fault, for the test to change."""
    return _written(identity("edge"), tmp_path)


def manager(tree: Tree) -> Tree:
    found: Tree = tree["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"]
    return found


def http_filter(tree: Tree, name: str) -> Tree:
    found: Tree = next(item for item in manager(tree)["http_filters"] if item["name"].endswith(name))
    return found["typed_config"]  # type: ignore[no-any-return]


def cluster(tree: Tree, name: str) -> Tree:
    found: Tree = next(item for item in tree["static_resources"]["clusters"] if item["name"] == name)
    return found


def upstream_tls(tree: Tree) -> Tree:
    found: Tree = cluster(tree, "auth")["transport_socket"]["typed_config"]
    return found


def routes(tree: Tree) -> list[Tree]:
    found: list[Tree] = manager(tree)["route_config"]["virtual_hosts"][0]["routes"]
    return found


def route(tree: Tree, path: str) -> Tree:
    return next(item for item in routes(tree) if item["match"].get("path") == path)


WHO = "/parley.auth.v1.SessionService/WhoAmI"
CHAT = "/parley.inference.v1.InferenceService/Chat"


def _unknown_key_exchange(tree: Tree) -> None:
    http_filter(tree, "ext_authz")["grpc_service"]["envoy_grpc"]["cluster_name"] = "authz"


def _unknown_keys_cluster(tree: Tree) -> None:
    provider = http_filter(tree, "jwt_authn")["providers"]["parley"]
    provider["remote_jwks"]["http_uri"]["cluster"] = "keys"


def _mistyped_retry(tree: Tree) -> None:
    route(tree, WHO)["route"]["retry_policy"]["retry_on"] = "connect-failure,reset-before-requests"


def _no_alpn(tree: Tree) -> None:
    del upstream_tls(tree)["common_tls_context"]["alpn_protocols"]


def _any_name(tree: Tree) -> None:
    context = upstream_tls(tree)["common_tls_context"]["combined_validation_context"]
    context["default_validation_context"]["match_typed_subject_alt_names"] = []


def _prefix_name(tree: Tree) -> None:
    context = upstream_tls(tree)["common_tls_context"]["combined_validation_context"]
    names = context["default_validation_context"]["match_typed_subject_alt_names"]
    names[0]["matcher"] = {"prefix": "spiffe://parley.local/"}


def _no_client_certificate(tree: Tree) -> None:
    del upstream_tls(tree)["common_tls_context"]["tls_certificate_sds_secret_configs"]


def _no_server_name(tree: Tree) -> None:
    del upstream_tls(tree)["sni"]


def page_tls(tree: Tree) -> Tree:
    chains = tree["static_resources"]["listeners"][0]["filter_chains"]
    found: Tree = chains[1]["transport_socket"]["typed_config"]
    return found


def _page_without_certificate(tree: Tree) -> None:
    del page_tls(tree)["require_client_certificate"]


def _page_by_any_name(tree: Tree) -> None:
    context = page_tls(tree)["common_tls_context"]["combined_validation_context"]
    del context["default_validation_context"]["match_typed_subject_alt_names"]


def _no_tls(tree: Tree) -> None:
    del cluster(tree, "tools")["transport_socket"]


def _default_limits(tree: Tree) -> None:
    del cluster(tree, "tools")["circuit_breakers"]


def _stream_with_timeout(tree: Tree) -> None:
    route(tree, CHAT)["route"]["timeout"] = "60s"


def _stream_with_default_timeout(tree: Tree) -> None:
    del route(tree, CHAT)["route"]["timeout"]


def _page_with_timeout(tree: Tree) -> None:
    routes(tree)[-1]["route"]["timeout"] = "15s"


def _method_without_route(tree: Tree) -> None:
    routes(tree).remove(route(tree, WHO))


def _open_method(tree: Tree) -> None:
    anonymous = route(tree, "/parley.auth.v1.SessionService/Login")
    route(tree, WHO)["typed_per_filter_config"] = anonymous["typed_per_filter_config"]


def _identity_let_through(tree: Tree) -> None:
    extension = manager(tree)["early_header_mutation_extensions"][0]
    extension["typed_config"]["mutations"].pop(0)


def _certificate_header_let_through(tree: Tree) -> None:
    mutations = manager(tree)["early_header_mutation_extensions"][0]["typed_config"]["mutations"]
    mutations.remove({"remove": "x-forwarded-client-cert"})


def _nothing_stripped(tree: Tree) -> None:
    del manager(tree)["early_header_mutation_extensions"]


def _no_gate(tree: Tree) -> None:
    filters = manager(tree)["http_filters"]
    filters.remove(next(item for item in filters if item["name"].endswith("rbac")))


def _gate_after_cors(tree: Tree) -> None:
    filters = manager(tree)["http_filters"]
    gate = next(item for item in filters if item["name"].endswith("rbac"))
    filters.remove(gate)
    filters.insert(3, gate)


def _open_on_failure(tree: Tree) -> None:
    http_filter(tree, "ext_authz")["failure_mode_allow"] = True


def _no_token_check(tree: Tree) -> None:
    filters = manager(tree)["http_filters"]
    filters.remove(next(item for item in filters if item["name"].endswith("jwt_authn")))


def _early_token_check(tree: Tree) -> None:
    filters = manager(tree)["http_filters"]
    check = filters.pop(-2)
    filters.insert(4, check)


def _tokens_in_the_query(tree: Tree) -> None:
    del http_filter(tree, "jwt_authn")["providers"]["parley"]["from_headers"]


def _logged_token(tree: Tree) -> None:
    manager(tree)["access_log"][0]["typed_config"]["log_format"]["json_format"]["token"] = (
        "%REQ(Authorization)%"
    )


def _logged_exchange(tree: Tree) -> None:
    manager(tree)["access_log"][0]["typed_config"]["log_format"]["json_format"]["key"] = (
        "%DYNAMIC_METADATA(envoy.filters.http.ext_authz:authorization)%"
    )


def _logged_query(tree: Tree) -> None:
    manager(tree)["access_log"][0]["typed_config"]["log_format"]["json_format"]["path"] = "%REQ(:PATH)%"


def _eds(tree: Tree) -> Tree:
    found: Tree = cluster(tree, pool("demo"))["eds_cluster_config"]
    return found


def _unwatched_replicas(tree: Tree) -> None:
    del _eds(tree)["eds_config"]["path_config_source"]["watched_directory"]


def _missing_replicas(tree: Tree) -> None:
    _eds(tree)["eds_config"]["path_config_source"]["path"] = "/nowhere/demo.yaml"


def _misnamed_replicas(tree: Tree) -> None:
    _eds(tree)["service_name"] = "other"


def _healthy_for_ever(tree: Tree) -> None:
    del cluster(tree, pool("demo"))["ignore_health_on_host_removal"]


def _unwatched_secret(tree: Tree) -> None:
    secret = upstream_tls(tree)["common_tls_context"]["tls_certificate_sds_secret_configs"][0]
    del secret["sds_config"]["path_config_source"]["watched_directory"]


def _missing_secret_file(tree: Tree) -> None:
    secret = upstream_tls(tree)["common_tls_context"]["tls_certificate_sds_secret_configs"][0]
    secret["sds_config"]["path_config_source"]["path"] = "/nowhere/edge.yaml"


def _misnamed_secret(tree: Tree) -> None:
    upstream_tls(tree)["common_tls_context"]["tls_certificate_sds_secret_configs"][0]["name"] = "other"


PLANTED: dict[Callable[[Tree], None], str] = {
    _unknown_key_exchange: "cluster_name authz: there is no such cluster",
    _unknown_keys_cluster: "cluster keys: there is no such cluster",
    _mistyped_retry: "retry_on reset-before-requests is no condition",
    _no_alpn: "cluster auth: alpn_protocols lacks h2",
    _any_name: "cluster auth: accepts any certificate",
    _prefix_name: "cluster auth: accepts any certificate",
    _no_client_certificate: "cluster auth: shows no certificate",
    _no_server_name: "cluster auth: sends no server name",
    _page_without_certificate: "listener public: believes a caller whose certificate it does not demand",
    _page_by_any_name: "listener public: believes a caller whose certificate it does not demand",
    _no_tls: "cluster tools: shows no certificate",
    _default_limits: "cluster tools: keeps the default of 1,024 calls",
    _stream_with_timeout: f"route {CHAT}: is a stream with timeout 60s",
    _stream_with_default_timeout: f"route {CHAT}: is a stream with timeout None",
    _page_with_timeout: "route page: is a stream with timeout 15s",
    _method_without_route: f"{WHO}: has no route",
    _open_method: f"route {WHO}: reaches a service without a token",
    _identity_let_through: "lets x-parley-* of callers through",
    _certificate_header_let_through: "lets x-forwarded-client-cert of callers through",
    _nothing_stripped: "lets x-envoy-* of callers through",
    _no_gate: "pages of foreign origins are not refused",
    _gate_after_cors: "pages of foreign origins are not refused",
    _open_on_failure: "lets requests pass when auth does not answer",
    _no_token_check: "nobody checks tokens",
    _early_token_check: "is not the last filter before the router",
    _tokens_in_the_query: "takes tokens from the query",
    _logged_token: "%REQ(Authorization)% holds credentials",
    _logged_exchange: "%DYNAMIC_METADATA(envoy.filters.http.ext_authz:authorization)% holds credentials",
    _logged_query: "%REQ(:PATH)% keeps the query",
    _unwatched_replicas: "its EDS file is not watched",
    _missing_replicas: "its EDS file /nowhere/demo.yaml cannot be read",
    _misnamed_replicas: "must hold one resource, named as the service",
    _healthy_for_ever: "a replica that is taken out gets calls as long as it is healthy",
    _unwatched_secret: "secret edge-identity: its SDS file is not watched",
    _missing_secret_file: "secret edge-identity: its SDS file /nowhere/edge.yaml cannot be read",
    _misnamed_secret: "secret other: ",
}


@pytest.fixture(scope="module")
def sound(identity: Identity, tmp_path_factory: pytest.TempPathFactory) -> Tree:
    """What is rendered, with its files in place."""
    folder = tmp_path_factory.mktemp("sound")
    return loaded(_written(identity("edge"), folder))


def test_what_is_rendered_has_no_fault(sound: Tree) -> None:
    assert lint(sound, CONTRACT) == []


@pytest.mark.parametrize("plant", PLANTED, ids=lambda plant: plant.__name__.strip("_"))
def test_a_planted_fault_is_found(sound: Tree, plant: Callable[[Tree], None]) -> None:
    tree = json.loads(json.dumps(sound))  # many times faster than deepcopy
    plant(tree)
    faults = [str(fault) for fault in lint(tree, CONTRACT)]
    assert any(PLANTED[plant] in fault for fault in faults), faults


def _faults(files: TlsFiles, folder: Path) -> list[str]:
    return [str(fault) for fault in lint(loaded(_written(files, folder)), CONTRACT)]


def test_missing_certificates_are_found(tmp_path: Path) -> None:
    nowhere = TlsFiles(
        *(tmp_path / "none" / name for name in ("certificate.pem", "key.pem", "authority.pem"))
    )
    faults = _faults(nowhere, tmp_path)
    for name in ("edge-identity", "edge-public", "mesh-authority"):
        assert any(f"secret {name}: cannot be loaded" in fault for fault in faults)


def test_a_key_of_another_certificate_is_found(authority: CertificateAuthority, tmp_path: Path) -> None:
    edge, other = authority.issue("edge"), authority.issue("other")
    faults = _faults(TlsFiles(edge.certificate, other.private_key, edge.authority), tmp_path)
    assert any("the private key is not the certificate's" in fault for fault in faults)


def test_an_expired_certificate_is_found(tmp_path: Path) -> None:
    expired = CertificateAuthority.open(tmp_path / "authority").issue("edge", days=0)
    faults = _faults(expired, tmp_path)
    assert any("CN=edge is good only from" in fault for fault in faults)


@pytest.mark.parametrize("name", ["edge-identity", "mesh-authority"])
def test_unwatched_certificates_are_found(configuration: Path, name: str) -> None:
    path = configuration.parent / "sds" / f"{name}.yaml"
    secret: dict[str, Any] = yaml.safe_load(path.read_text())
    content = secret["resources"][0]
    del content.get("tls_certificate", content.get("validation_context"))["watched_directory"]
    path.write_text(yaml.safe_dump(secret))
    faults = [str(fault) for fault in lint(loaded(configuration), CONTRACT)]
    assert any(f"secret {name}: its file" in fault and "not watched" in fault for fault in faults)


def test_the_command_tells_each_fault(configuration: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(configuration)]) == 0
    tree = loaded(configuration)
    _no_alpn(tree)
    configuration.write_text(yaml.safe_dump(tree))
    assert main([str(configuration)]) == 1
    assert "alpn_protocols lacks h2" in capsys.readouterr().err
