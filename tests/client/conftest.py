from collections.abc import Callable, Iterator

import pytest

from deploy.certificates import CertificateAuthority
from parley_client.channel import open_channel
from parley_client.client import Client
from services.rpc.tls import TlsFiles
from tests.client.toy_platform import ToyPlatform
from tests.client.toy_server import RunningPlatform


@pytest.fixture
def toy(identity: Callable[[str], TlsFiles]) -> Iterator[ToyPlatform]:
    with RunningPlatform(identity("edge")) as toy:
        yield toy


@pytest.fixture
def connect(toy: ToyPlatform, authority: CertificateAuthority) -> Callable[[], Client]:
    """Opens a client of the toy; the caller leaves its `async with`."""
    return lambda: Client(open_channel(toy.address, authority=authority.certificate_path))
