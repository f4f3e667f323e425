"""What the edge may be told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from deploy.envoy.settings import Endpoint, endpoint
from services.rpc.tls import TlsFiles
from tests.edge.conftest import edge_settings

FILES = TlsFiles(Path("certificate.pem"), Path("key.pem"), Path("authority.pem"))
HERE = Path()


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("127.0.0.1:8443", ("127.0.0.1", 8443)),
        ("[::1]:1", ("::1", 1)),
        ("auth.parley.svc:80", ("auth.parley.svc", 80)),
    ],
)
def test_an_address_is_read(address: str, expected: tuple[str, int]) -> None:
    assert endpoint(address) == Endpoint(*expected)


@pytest.mark.parametrize("address", ["", "host", ":80", "host:", "host:x", "host:65536", "host:-1", "host:²"])
def test_what_is_no_address_is_refused(address: str) -> None:
    with pytest.raises(ValueError, match="is not host:port"):
        endpoint(address)


@pytest.mark.parametrize(
    "changes",
    [
        {"listen_address": "8443"},
        {"auth_addresses": []},
        {"models": {}},
        {"models": {"demo": []}},
        {"models": {"demo": ["nowhere"]}},
        {"default_model": "none"},
        {"models": {"demo": ["127.0.0.1:1"], "demo:polite": ["127.0.0.1:1"]}},
        {"allowed_origins": ["https://*"]},
        {"allowed_origins": ["app.example"]},
        {"allowed_origins": ["https://app.example/page"]},
        {"admin_address": "0.0.0.0:9901"},
        {"admin_address": "localhost:9901"},
        {"public_certificate_path": "public.pem"},
        {"public_names": ["Edge.Parley.local"]},
        {"public_port": 0},
        {"public_port": 65536},
        {"max_body_bytes": 0},
        {"no_such_setting": 1},
    ],
    ids=str,
)
def test_a_wrong_setting_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        edge_settings(FILES, HERE, **changes)


@pytest.mark.parametrize("address", ["", "unix:/run/admin.sock", "127.0.0.1:9901", "[::1]:9901"])
def test_the_admin_interface_stays_on_this_machine(address: str) -> None:
    assert edge_settings(FILES, HERE, admin_address=address).admin_address == address


def test_the_page_s_own_origins_carry_the_port_that_browsers_name() -> None:
    told = {"public_names": ["Chat.Example"], "allowed_origins": ["https://App.Example"]}
    assert edge_settings(FILES, HERE, listen_address="0.0.0.0:443", **told).origins == [
        "https://app.example",
        "https://chat.example",
    ]
    assert "https://chat.example:8443" in edge_settings(FILES, HERE, **told).origins
    behind = edge_settings(FILES, HERE, listen_address="0.0.0.0:8443", public_port=443, **told)
    assert behind.origins == ["https://app.example", "https://chat.example"]


def test_the_first_model_is_the_default() -> None:
    models = {"one": ["127.0.0.1:1"], "two": ["127.0.0.1:2"]}
    assert edge_settings(FILES, HERE, models=models).default_pool == "one"
    assert edge_settings(FILES, HERE, models=models, default_model="two").default_pool == "two"


def test_two_edges_do_not_share_the_inner_socket() -> None:
    addresses = {
        edge_settings(FILES, HERE, listen_address=f"127.0.0.1:{port}").jwks_address for port in (1, 2)
    }
    assert len(addresses) == 2
