"""A real auth service beside the service under test, for what needs both."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import grpc

from parley.auth.v1 import key_service_pb2, session_service_pb2
from parley.auth.v1.key_service_pb2_grpc import KeyServiceStub
from parley.auth.v1.session_service_pb2_grpc import SessionServiceStub
from parley.edge import external_auth_pb2
from parley.edge.external_auth_pb2_grpc import AuthorizationStub
from services.auth.__main__ import serving
from services.auth.settings import AuthSettings
from services.rpc.channel import RotatingChannel, open_channel
from services.rpc.tls import TlsFiles

Metadata = tuple[tuple[str, str], ...]


class RunningAuth:
    """The service, as the edge sees it, and the administrator's login."""

    def __init__(self, address: str, edge: RotatingChannel, password: str) -> None:
        self.address = address
        self._keys: Any = KeyServiceStub(edge)
        self._sessions: Any = SessionServiceStub(edge)
        self._exchange: Any = AuthorizationStub(edge)
        self._password = password
        self._login: Metadata = ()

    async def login(self) -> Any:
        """The tokens of a new session of the administrator."""
        request = session_service_pb2.LoginRequest(username="admin", password=self._password)
        return (await self._sessions.Login(request)).tokens

    async def end_login(self, refresh_token: str) -> None:
        """End a session, as a thief's second use of its refresh token does."""
        request = session_service_pb2.RefreshRequest(refresh_token=refresh_token)
        await self._sessions.Refresh(request)
        with suppress(grpc.aio.AioRpcError):
            await self._sessions.Refresh(request)

    async def key(self) -> tuple[str, Metadata]:
        """A new key's id, and the metadata of a call that the edge made with it."""
        self._login = self._login or bearer((await self.login()).access_token)
        request = key_service_pb2.CreateKeyRequest(name="a key")
        made = await self._keys.CreateKey(request, metadata=self._login)
        check = external_auth_pb2.CheckRequest()
        check.attributes.request.http.headers["x-parley-key"] = made.secret
        answer = await self._exchange.Check(check)
        headers = {option.header.key: option.header.value for option in answer.ok_response.headers}
        return made.key.key_id, (("authorization", headers["authorization"]),)

    async def revoke(self, key_id: str) -> None:
        request = key_service_pb2.RevokeKeyRequest(key_id=key_id)
        await self._keys.RevokeKey(request, metadata=self._login)


def bearer(token: str) -> Metadata:
    return (("authorization", f"Bearer {token}"),)


@asynccontextmanager
async def running_auth(
    folder: Path, identity: Callable[[str], TlsFiles], **changes: Any
) -> AsyncIterator[RunningAuth]:
    """Run the service in this folder."""
    tls = identity("auth")
    settings = {
        "tls_certificate_path": tls.certificate,
        "tls_private_key_path": tls.private_key,
        "tls_authority_path": tls.authority,
        "database_url": f"sqlite+aiosqlite:///{folder / 'auth.db'}",
        "data_path": folder / "auth",
        "password_time_cost": 1,
        "password_memory_kib": 16,
        "password_lanes": 1,
        "drain_seconds": 0,
        "grace_seconds": 0,
    }
    async with serving(AuthSettings(**{**settings, **changes})) as (_, port):
        address = f"127.0.0.1:{port}"
        password = (folder / "auth" / "admin-password").read_text().strip()
        async with open_channel(
            address, tls=identity("edge"), service="auth", trust_domain="parley.local"
        ) as edge:
            yield RunningAuth(address, edge, password)
