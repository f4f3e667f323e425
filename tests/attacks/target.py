"""What is attacked: the real edge before the real auth service, with two tenants and users of each role."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
from joserfc import jwt
from joserfc.jwk import ECKey

from services.rpc.principal import ALGORITHM, TOKEN_TYPE
from services.rpc.tls import TlsFiles
from tests.edge.front import Front

PASSWORD = "correct horse battery staple"
NOBODY = "01ARZ3NDEKTSV4RRFFQ69G5FAV"


@dataclass
class Person:
    """A user who is logged in."""

    username: str
    user_id: str
    tenant_id: str
    tokens: dict[str, str]
    password: str = PASSWORD

    @property
    def token(self) -> str:
        return self.tokens["accessToken"]

    @property
    def refresh_token(self) -> str:
        return self.tokens["refreshToken"]

    @property
    def headers(self) -> dict[str, str]:
        return bearer(self.token)


def bearer(credential: str) -> dict[str, str]:
    return {"authorization": f"Bearer {credential}"}


@dataclass
class Target:
    """The platform under attack, people to attack it as, and identities of the page and of a neighbour."""

    edge: Front
    folder: Path
    client: httpx.AsyncClient
    people: dict[str, Person]
    page: TlsFiles
    neighbour: TlsFiles

    def __getattr__(self, name: str) -> Person:
        """`target.viewer` is the person of that name."""
        try:
            return self.people[name]
        except KeyError:
            raise AttributeError(name) from None

    async def get(self, path: str, who: dict[str, str] | None = None, **options: Any) -> httpx.Response:
        return await self.client.get(f"/api/v1/{path}", headers=who, **options)

    async def post(
        self, path: str, body: Any = None, who: dict[str, str] | None = None, **options: Any
    ) -> httpx.Response:
        return await self.client.post(f"/api/v1/{path}", json=body or {}, headers=who, **options)

    async def patch(self, path: str, body: Any, who: dict[str, str]) -> httpx.Response:
        return await self.client.patch(f"/api/v1/{path}", json=body, headers=who)

    async def me(self, credential: str) -> httpx.Response:
        """Who a credential makes its bearer."""
        return await self.get("me", bearer(credential))

    @property
    def signing_key(self) -> ECKey:
        """The key that auth itself signs with, to make tokens that are wrong in one thing alone."""
        (path,) = (self.folder / "signing-keys").glob("*.json")
        return ECKey.import_key(json.loads(path.read_text())["jwk"])

    def claims(self, person: Person) -> dict[str, Any]:
        """The claims of a person's good token."""
        return dict(jwt.decode(person.token, self.signing_key).claims)

    def signed(
        self,
        person: Person,
        *,
        key: ECKey | None = None,
        header: dict[str, Any] | None = None,
        **changes: Any,
    ) -> str:
        """A token like the person's own, with claims or headers changed, signed rightly unless by `key`."""
        claims = {
            name: value for name, value in {**self.claims(person), **changes}.items() if value is not None
        }
        own = {"alg": ALGORITHM, "typ": TOKEN_TYPE, "kid": self.signing_key.kid, **(header or {})}
        return jwt.encode(own, claims, key or self.signing_key)

    async def login(self, username: str, password: str) -> httpx.Response:
        return await self.post("sessions:login", {"username": username, "password": password})

    async def key(self, person: Person, **fields: Any) -> dict[str, Any]:
        """A key of the person: `secret` and `key`."""
        made = await self.post("keys", {"name": "attack", **fields}, person.headers)
        assert made.status_code == 200, made.text
        return dict(made.json())

    async def newcomer(self, role: str = "user", by: Person | None = None) -> Person:
        """A new user, who has changed the first password and is logged in."""
        admin, name = by or self.admin, f"user-{uuid4().hex[:12]}"
        made = await self.post("users", {"username": name, "roles": [role]}, admin.headers)
        assert made.status_code == 200, made.text
        return await enter(self.client, name, made.json()["oneTimePassword"])


async def enter(client: httpx.AsyncClient, username: str, first_password: str) -> Person:
    """Log in with a first password, change it, and log in again."""
    first = await _login(client, username, first_password)
    body = {"currentPassword": first_password, "newPassword": PASSWORD}
    changed = await client.post("/api/v1/me:changePassword", json=body, headers=bearer(first["accessToken"]))
    assert changed.status_code == 200, changed.text
    tokens = await _login(client, username, PASSWORD)
    me = (await client.get("/api/v1/me", headers=bearer(tokens["accessToken"]))).json()
    return Person(username, me["userId"], me["tenantId"], tokens)


async def _login(client: httpx.AsyncClient, username: str, password: str) -> dict[str, str]:
    answer = await client.post("/api/v1/sessions:login", json={"username": username, "password": password})
    assert answer.status_code == 200, answer.text
    return dict(answer.json()["tokens"])


Deed = Callable[[Target], Awaitable[httpx.Response]]


@dataclass(frozen=True)
class Attack:
    """One attack.

    Attributes:
        name: What it tries.
        strike: Does it.
        refusal: HTTP status and reason that it must meet with.
        neighbour: Its legitimate neighbour, which must succeed.
        spelling_of: The one mechanism that it is a spelling of, where there are several.
    """

    name: str
    strike: Deed
    refusal: tuple[int, str]
    neighbour: Deed
    spelling_of: str = ""

    @property
    def mechanism(self) -> str:
        """What it goes by: attacks that are one thing in several spellings count once."""
        return self.spelling_of or self.name
