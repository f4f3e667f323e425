"""What `check_pods.py` plays is what the overlay says, and nothing that a pod asks for is missing."""

from __future__ import annotations

import base64

import pytest
from cryptography import x509

from deploy.credentials import make
from tests.deploy.manifests import KUBECTL, Tree, kustomized
from tests.deploy.pods import Pod, pods, secrets

pytestmark = pytest.mark.skipif(KUBECTL is None, reason="issue 6: kubectl is not on every machine")


@pytest.fixture(scope="module")
def overlay() -> list[Tree]:
    return kustomized("demo")


@pytest.fixture(scope="module")
def made(overlay: list[Tree]) -> dict[str, Pod]:
    return {pod.name: pod for pod in pods(overlay)}


@pytest.fixture(scope="module")
def kept(overlay: list[Tree], tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, str]]:
    """The secrets, by their names and keys, as text."""
    folder = tmp_path_factory.mktemp("secrets")
    make(folder)
    return {
        secret["metadata"]["name"]: {
            key: base64.b64decode(value).decode() for key, value in secret["data"].items()
        }
        for secret in secrets(overlay, folder)
    }


def test_each_deployment_has_its_replicas(overlay: list[Tree], made: dict[str, Pod]) -> None:
    wanted = {
        f"{each['metadata']['name']}-{number}"
        for each in overlay
        if each["kind"] == "Deployment"
        for number in range(each["spec"]["replicas"])
    }
    assert made.keys() == wanted
    assert {"auth-1", "tools-1", "edge-1", "web-0", "inference-demo-0"} <= wanted


def test_each_secret_that_is_mounted_is_made(made: dict[str, Pod], kept: dict[str, dict[str, str]]) -> None:
    mounted = {
        volume["secret"]["secretName"]
        for pod in made.values()
        for volume in pod.spec["volumes"]
        if "secret" in volume
    }
    assert mounted == kept.keys()


def test_settings_trust_the_authority_where_it_is_mounted(kept: dict[str, dict[str, str]]) -> None:
    settings = kept["auth-settings"]
    assert settings["PARLEY_AUTH_STORE_URL"].endswith("?ssl_ca_certs=/run/secrets/parley/store-authority.pem")
    assert settings["PARLEY_AUTH_DATABASE_URL"].startswith("postgresql+asyncpg://")
    assert "CERTIFICATE" in settings["store-authority.pem"]


def test_a_certificate_has_the_names_that_the_manifest_gives_it(kept: dict[str, dict[str, str]]) -> None:
    certificate = x509.load_pem_x509_certificate(kept["auth-identity"]["tls.crt"].encode())
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.UniformResourceIdentifier) == ["spiffe://parley.local/auth"]
    assert set(names.get_values_for_type(x509.DNSName)) == {"auth.parley.local"}


def test_names_lead_to_the_ports_of_pods(made: dict[str, Pod]) -> None:
    """The service of the edge has port 443, its pods 8443."""
    variables = {entry["name"]: entry["value"] for entry in made["web-0"].container["env"]}
    assert variables["PARLEY_WEB_EDGE_ADDRESS"] == "edge:8443"
    assert made["edge-1"].services == ("edge",)


def test_the_first_edge_is_published_and_nothing_else(made: dict[str, Pod]) -> None:
    published = {
        name: port["hostPort"]
        for name, pod in made.items()
        for port in pod.container["ports"]
        if "hostPort" in port
    }
    assert published == {"edge-0": 443}


def test_no_two_pods_share_a_folder_of_their_own(made: dict[str, Pod]) -> None:
    names = [
        volume["name"] for pod in made.values() for volume in pod.spec["volumes"] if "emptyDir" in volume
    ]
    assert len(names) == len(set(names))
    for pod in made.values():
        volumes = {volume["name"] for volume in pod.spec["volumes"]}
        assert {mount["name"] for mount in pod.container["volumeMounts"]} == volumes
