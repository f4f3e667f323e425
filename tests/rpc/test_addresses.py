"""Addresses that a file names, which channels follow."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from services.rpc.addresses import FILE, MOST_BYTES, Addresses
from services.rpc.channel import CHECK_SECONDS, open_channel
from services.rpc.server import RpcServer
from tests.rpc.conftest import ToyMesh, ToyServicer


def replaced(path: Path, *addresses: str) -> None:
    """Puts another file in the place of one."""
    fresh = path.with_name("fresh")
    fresh.write_text("\n".join(addresses))
    fresh.replace(path)


def test_an_address_stands_for_itself_and_a_file_for_those_in_it(tmp_path: Path) -> None:
    path = tmp_path / "addresses"
    fixed, followed = Addresses("ipv4:127.0.0.1:1"), Addresses(f"{FILE}{path}")
    replaced(path, "127.0.0.1:1")
    one, version = followed.target(), followed.version()
    replaced(path, "127.0.0.1:1", "127.0.0.1:2")
    assert (fixed.target(), fixed.version()) == ("ipv4:127.0.0.1:1", ())
    assert (one, followed.target()) == ("127.0.0.1:1", "ipv4:127.0.0.1:1,127.0.0.1:2")
    assert followed.version() != version


@pytest.mark.parametrize("text", ["", "\n", "127.0.0.1:1\n" * MOST_BYTES])
def test_a_file_without_addresses_or_without_end_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "addresses"
    path.write_text(text)
    with pytest.raises(OSError, match="must hold an address a line"):
        Addresses(f"{FILE}{path}").all()
    with pytest.raises(FileNotFoundError):
        Addresses(f"{FILE}{path}.none").all()


async def test_calls_go_where_the_file_says_and_a_running_one_goes_on(
    mesh: ToyMesh, settings: Any, tokens: Any, identity: Any, toy: Any, tmp_path: Path
) -> None:
    other = ToyServicer(toy)
    second = RpcServer(settings, tokens.verifier())
    second.add(toy.add_ToyServiceServicer_to_server, other)
    port = await second.start()
    path = tmp_path / "addresses"
    replaced(path, f"127.0.0.1:{mesh.port}")
    channel = open_channel(f"{FILE}{path}", tls=identity("edge"), service="toy", trust_domain="parley.local")
    running = toy.ToyServiceStub(channel).ServerStream(
        toy.ToyRequest(behaviour="wait"), metadata=tokens.metadata("toy.use"), timeout=60
    )
    assert (await running.read()).text == "first"

    replaced(path, f"127.0.0.1:{port}")
    channel._checked -= CHECK_SECONDS  # as if the time had passed
    unary = toy.ToyServiceStub(channel).Unary
    waiting = unary(toy.ToyRequest(behaviour="wait"), metadata=tokens.metadata("toy.use"), timeout=60)
    await other.waiting.wait()
    assert not mesh.servicer.cancelled.is_set()
    waiting.cancel()
    running.cancel()
    await channel.close()
    await second.stop()
