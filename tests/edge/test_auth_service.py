"""The real auth service behind the real edge."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio

from cli.local.preflight import free_port
from parley_client.errors import ParleyError
from services.auth.__main__ import serving
from services.auth.settings import AuthSettings
from tests.edge.answers import refusal, until_ended
from tests.edge.conftest import Identity, Mesh, edge_settings
from tests.edge.front import Front, eventually, front
from web.edge import Edge, as_page

FREE_FAILURES = 20
"""Failures of one address before it waits (decision 0012)."""

BUF = Path(sys.executable).with_name("buf")

pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="session")]


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def auth_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("auth")


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def whole_edge(
    mesh: Mesh, identity: Identity, auth_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Front]:
    """An edge in front of the real auth service and the toys for the rest."""
    files = identity("auth")
    settings = AuthSettings(
        tls_certificate_path=files.certificate,
        tls_private_key_path=files.private_key,
        tls_authority_path=files.authority,
        database_url=f"sqlite+aiosqlite:///{auth_folder / 'auth.db'}",
        data_path=auth_folder,
        password_time_cost=1,
        password_memory_kib=64,
        grace_seconds=0,
    )
    folder = tmp_path_factory.mktemp("whole")
    async with serving(settings) as (_, port):
        told = {**mesh.upstreams(), "auth_addresses": [f"127.0.0.1:{port}"], "web_address": "127.0.0.1:1"}
        edge = edge_settings(identity("edge"), folder, listen_address=f"127.0.0.1:{free_port()}", **told)
        async with front(edge, folder) as running:
            yield running


async def logged_in(client: httpx.AsyncClient, folder: Path) -> dict[str, str]:
    """Headers with a token of the first admin."""
    password = (folder / "admin-password").read_text().strip()
    answer = await client.post("/api/v1/sessions:login", json={"username": "admin", "password": password})
    assert answer.status_code == 200, answer.text
    return {"authorization": f"Bearer {answer.json()['tokens']['accessToken']}"}


async def test_logins_through_the_page_count_for_the_person(
    whole_edge: Front, auth_folder: Path, identity: Identity
) -> None:
    """A guesser waits, who is elsewhere does not, and session and audit have each one's address."""
    page = Edge(as_page(whole_edge.address, identity("web"), "parley.local"))
    guesser, honest = "203.0.113.5", "203.0.113.6"
    reasons = set()
    for number in range(FREE_FAILURES + 2):
        with pytest.raises(ParleyError) as refused:
            await page.login(f"nobody-{number}", "a guess", guesser)
        reasons.add(refused.value.reason)
    assert reasons == {"CREDENTIALS_INVALID", "LOGIN_THROTTLED"}
    password = (auth_folder / "admin-password").read_text().strip()
    admin = (await page.login("admin", password, honest)).client
    async with whole_edge.http() as client:
        headers = dict(await admin.credentials.metadata())
        sessions = (await client.get("/api/v1/sessions", headers=headers)).json()["sessions"]
        assert [session["address"] for session in sessions if session.get("current")] == [honest]

        async def audited() -> bool | None:
            found = (await client.get("/api/v1/audit/records", headers=headers)).json().get("records", [])
            told = {(it["event"].get("clientAddress"), it["event"].get("reason")) for it in found}
            return {(guesser, "LOGIN_THROTTLED"), (guesser, "CREDENTIALS_INVALID")} <= told or None

        assert await eventually(audited)
    await page.close()


async def test_a_login_a_key_and_its_end(whole_edge: Front, auth_folder: Path) -> None:
    async with whole_edge.http() as client:
        headers = await logged_in(client, auth_folder)
        who = await client.get("/api/v1/me", headers=headers)
        made = await client.post("/api/v1/keys", json={"name": "laptop"}, headers=headers)
        secret, key_id = made.json()["secret"], made.json()["key"]["keyId"]
        by_key = {"authorization": f"Bearer {secret}"}
        with_key = await client.get("/api/v1/me", headers=by_key)
        await client.post(f"/api/v1/keys/{key_id}:revoke", json={}, headers=headers)
        revoked = await until_ended(lambda: client.get("/api/v1/me", headers=by_key))
    assert who.json()["username"] == "admin"
    assert with_key.json()["keyId"] == key_id
    assert (revoked.status_code, refusal(revoked).reason) == (401, "KEY_INVALID")
    assert secret not in whole_edge.log


async def test_a_wrong_password_is_a_typed_refusal(whole_edge: Front) -> None:
    async with whole_edge.http() as client:
        answer = await client.post("/api/v1/sessions:login", json={"username": "admin", "password": "wrong"})
    assert (answer.status_code, refusal(answer).reason) == (401, "CREDENTIALS_INVALID")


async def test_users_and_roles_are_administered_as_json(whole_edge: Front, auth_folder: Path) -> None:
    role = {"name": "reader", "permissions": ["tools.list"]}
    async with whole_edge.http() as client:
        client.headers.update(await logged_in(client, auth_folder))
        made = await client.post("/api/v1/roles", json={"role": role})
        user = (await client.post("/api/v1/users", json={"username": "ada", "roles": ["reader"]})).json()
        path = f"/api/v1/users/{user['user']['userId']}"
        renamed = await client.patch(path, json={"user": {"displayName": "Ada"}, "updateMask": "displayName"})
        in_use = await client.delete("/api/v1/roles/reader")
        await client.patch(path, json={"user": {}, "updateMask": "roles"})
        gone = await client.delete("/api/v1/roles/reader")
        listed = await client.get(
            "/api/v1/users", params={"username_prefix": "ad", "kind": "USER_KIND_PERSON"}
        )
    assert made.json()["role"]["permissions"] == ["tools.list"]
    assert renamed.json()["user"]["displayName"] == "Ada"
    assert (in_use.status_code, refusal(in_use).reason) == (400, "ROLE_IN_USE")
    assert (gone.status_code, gone.json()) == (200, {})
    assert [found["username"] for found in listed.json()["users"]] == ["ada", "admin"]
    assert user["oneTimePassword"] not in whole_edge.log


async def test_a_key_bound_to_addresses_is_refused_from_others(whole_edge: Front, auth_folder: Path) -> None:
    async with whole_edge.http() as client:
        headers = await logged_in(client, auth_folder)
        told = []
        for network in ("127.0.0.0/8", "198.51.100.0/24"):
            key = {"name": "bound", "allowedAddresses": [network]}
            secret = (await client.post("/api/v1/keys", json=key, headers=headers)).json()["secret"]
            forged = {"x-api-key": secret, "x-forwarded-for": "198.51.100.1"}
            told.append(await client.get("/api/v1/me", headers=forged))
    assert [answer.status_code for answer in told] == [200, 403]
    assert refusal(told[1]).reason == "KEY_ADDRESS_NOT_ALLOWED"


async def test_the_command_administers(whole_edge: Front, auth_folder: Path, tmp_path: Path) -> None:
    environment = {
        "PARLEY_HOME": str(tmp_path / "home"),
        "PARLEY_ADDRESS": whole_edge.address,
        "PARLEY_AUTHORITY_PATH": str(whole_edge.settings.tls_authority_path),
        "PARLEY_API_KEY": "",
        "COLUMNS": "200",
    }

    async def parley(*arguments: str, stdin: str = "") -> str:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "cli", *arguments),
            env={"PATH": os.environ["PATH"], **environment},
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        output, errors = await asyncio.wait_for(process.communicate(stdin.encode()), 60)
        assert process.returncode == 0, (arguments, errors.decode())
        return output.decode().strip()

    await parley("login", "--password-stdin", stdin=(auth_folder / "admin-password").read_text())
    once = await parley("users", "create", "grace", "--role", "user")
    await parley("logout")
    await parley("login", "--username", "grace", "--password-stdin", stdin=once)
    await parley("password", "--stdin", stdin=f"{once}\nmuch better than that\n")
    sessions = json.loads(await parley("sessions", "list", "--json"))
    assert [session["current"] for session in sessions] == [True]


async def test_an_operator_lists_and_calls_through_reflection(whole_edge: Front, auth_folder: Path) -> None:
    async with whole_edge.http() as client:
        headers = await logged_in(client, auth_folder)
    listed = await buf_curl(whole_edge, headers, "--list-methods")
    who = await buf_curl(whole_edge, headers, "-d", "{}", path="/parley.auth.v1.SessionService/WhoAmI")
    assert "parley.inference.v1.InferenceService/Chat" in listed.splitlines()
    assert json.loads(who)["username"] == "admin"


async def buf_curl(edge: Front, headers: dict[str, str], *arguments: str, path: str = "") -> str:
    """What `buf curl` prints; it learns the contract by reflection."""
    secret = f"authorization: {headers['authorization']}"
    process = await asyncio.create_subprocess_exec(
        *(BUF, "curl", "--protocol", "grpc", "--cacert", edge.settings.tls_authority_path),
        *("-H", secret, "--reflect-header", secret, *arguments, edge.url + path),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    output, errors = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 0, errors.decode()
    return output.decode()


async def test_the_audit_has_what_the_edge_refused_and_what_auth_decided(
    whole_edge: Front, auth_folder: Path
) -> None:
    async with whole_edge.http() as client:
        headers = await logged_in(client, auth_folder)
        refused = await client.get("/api/v1/me")
        allowed = await client.get("/api/v1/me", headers=headers)

        async def recorded(answer: httpx.Response) -> dict[str, Any] | None:
            wanted = {"filter.request_id": answer.headers["x-request-id"]}
            found = await client.get("/api/v1/audit/records", params=wanted, headers=headers)
            assert found.status_code == 200, found.text
            return next(iter(found.json().get("records", [])), None)

        by_edge = await eventually(lambda: recorded(refused))
        by_auth = await eventually(lambda: recorded(allowed))
        proof = await client.get("/api/v1/audit:verify", headers=headers)
    assert (by_edge["service"], by_edge["event"]["reason"]) == (
        "edge",
        "jwt_authn_access_denied{Jwt_is_missing}",
    )
    assert (by_auth["service"], by_auth["event"]["clientAddress"]) == ("auth", "127.0.0.1")
    summary = json.loads(proof.text.splitlines()[-1])["summary"]
    assert "faults" not in summary
    assert int(summary["records"]) >= 3
