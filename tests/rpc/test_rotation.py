"""Certificates are replaced under running servers and channels."""

from __future__ import annotations

import asyncio
import socket
import ssl
from pathlib import Path
from typing import Any

import grpc
import pytest

from deploy.certificates import CertificateAuthority
from services.rpc import channel as channel_module
from services.rpc.channel import RotatingChannel
from services.rpc.tls import TlsFiles, channel_credentials, peer_name, server_credentials


async def echo(request: bytes, context: Any) -> bytes:
    names = context.auth_context()["x509_common_name"]
    return bytes(names[0])


@pytest.fixture
async def rotating(tmp_path: Path) -> Any:
    authority = CertificateAuthority.open(tmp_path)
    authority.issue("server")
    authority.issue("client")
    server = grpc.aio.server()
    handler = grpc.unary_unary_rpc_method_handler(echo)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("toy", {"Echo": handler}),))
    port = server.add_secure_port("127.0.0.1:0", server_credentials(authority.identity("server")))
    await server.start()
    yield authority, port
    await server.stop(0)


def served_certificate(port: int, authority: CertificateAuthority) -> bytes:
    client = authority.identity("client")
    context = ssl.create_default_context(cafile=str(client.authority))
    context.load_cert_chain(client.certificate, client.private_key)
    with _connect(port, context) as connection:
        certificate = connection.getpeercert(binary_form=True)
    assert certificate is not None
    return certificate


def _connect(port: int, context: ssl.SSLContext) -> ssl.SSLSocket:
    return context.wrap_socket(socket.create_connection(("127.0.0.1", port), 10), server_hostname="localhost")


async def test_the_server_shows_a_replaced_certificate(rotating: Any) -> None:
    authority, port = rotating
    before = await asyncio.to_thread(served_certificate, port, authority)
    authority.issue("server")
    after = await asyncio.to_thread(served_certificate, port, authority)
    assert before != after


async def test_the_channel_shows_a_replaced_certificate_to_later_calls(rotating: Any) -> None:
    authority, port = rotating
    files: TlsFiles = authority.identity("client")
    options = (("grpc.ssl_target_name_override", "localhost"),)
    made = []

    def connect() -> grpc.aio.Channel:
        made.append(files.certificate.read_bytes())
        return grpc.aio.secure_channel(f"127.0.0.1:{port}", channel_credentials(files), options=options)

    channel = RotatingChannel(connect, files.version)
    call = channel.unary_unary("/toy/Echo")
    first = await call(b"")
    authority.issue("client")
    channel._checked -= channel_module.CHECK_SECONDS  # as if the time had passed
    second = await call(b"")
    await channel.close()
    assert first == second == b"client"
    assert len(set(made)) == 2


async def test_a_missing_file_keeps_the_old_certificate(rotating: Any) -> None:
    authority, port = rotating
    files: TlsFiles = authority.identity("client")
    options = (("grpc.ssl_target_name_override", "localhost"),)
    channel = RotatingChannel(
        lambda: grpc.aio.secure_channel(f"127.0.0.1:{port}", channel_credentials(files), options=options),
        files.version,
    )
    files.certificate.unlink()
    authority.identity("server").certificate.unlink()
    channel._checked -= channel_module.CHECK_SECONDS
    answer = await channel.unary_unary("/toy/Echo")(b"")
    await channel.close()
    assert answer == b"client"


def test_private_keys_are_for_their_owner_alone(tmp_path: Path) -> None:
    authority = CertificateAuthority.open(tmp_path)
    files = authority.issue("auth")
    keys = [files.private_key, tmp_path / "authority" / "private-key.pem"]
    assert [key.stat().st_mode & 0o777 for key in keys] == [0o600, 0o600]


def test_an_authority_is_made_once(tmp_path: Path) -> None:
    first = CertificateAuthority.open(tmp_path).certificate_path.read_bytes()
    assert CertificateAuthority.open(tmp_path).certificate_path.read_bytes() == first


def test_a_replaced_identity_leaves_nothing_behind(tmp_path: Path) -> None:
    authority = CertificateAuthority.open(tmp_path)
    authority.issue("auth")
    authority.issue("auth")
    assert len(list((tmp_path / "auth").iterdir())) == 2  # the version in use, and the link to it


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ([b"spiffe://parley.local/edge", b"edge.parley.local"], "edge"),
        ([b"spiffe://elsewhere/edge"], None),
        ([b"spiffe://parley.local/edge", b"spiffe://parley.local/auth"], None),
        ([b"edge"], None),
        ([], None),
    ],
)
def test_a_peer_is_named_by_its_spiffe_id_alone(names: list[bytes], expected: str | None) -> None:
    assert peer_name({"x509_subject_alternative_name": names}, "parley.local") == expected
