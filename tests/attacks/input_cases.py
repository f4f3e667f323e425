"""Numbers, names, bodies and paths that nobody legitimate sends; calls that are not for the outside."""

from __future__ import annotations

import base64
from typing import Any

import httpx
from google.protobuf.json_format import MessageToDict
from google.rpc import status_pb2

from tests.attacks.key_cases import own_key_revoked
from tests.attacks.target import NOBODY, Attack, Deed, Target

INVALID = (400, "INVALID_REQUEST")
HTTP_STATUSES = {3: 400, 5: 404, 7: 403, 12: 501, 16: 401}


def keys_page(size: str) -> Deed:
    async def strike(target: Target) -> httpx.Response:
        return await target.get("keys", target.user.headers, params={"pageSize": size})

    return strike


def key_with(**fields: Any) -> Deed:
    async def strike(target: Target) -> httpx.Response:
        return await target.post("keys", {"name": "odd", **fields}, target.user.headers)

    return strike


def user_called(name: str) -> Deed:
    async def strike(target: Target) -> httpx.Response:
        return await target.post("users", {"username": name, "roles": ["user"]}, target.admin.headers)

    return strike


def raw(content: bytes) -> Deed:
    async def strike(target: Target) -> httpx.Response:
        headers = {**target.user.headers, "content-type": "application/json"}
        return await target.client.post("/api/v1/keys", content=content, headers=headers)

    return strike


def grpc_web(method: str, who: str = "admin", **headers: str) -> Deed:
    """Calls a method by its gRPC name over gRPC-Web, with an empty message: five bytes."""

    async def strike(target: Target) -> httpx.Response:
        told = {"content-type": "application/grpc-web+proto", "x-grpc-web": "1", **headers}
        return told_as_json(
            await target.client.post(
                f"/{method}", content=bytes(5), headers={**target.people[who].headers, **told}
            )
        )

    return strike


def told_as_json(answer: httpx.Response) -> httpx.Response:
    """What a gRPC-Web answer tells in its headers or its last frame, in the shape of the JSON surface."""
    ending = dict(
        line.split(":", 1) for line in answer.content[-4096:].decode("latin-1").split("\r\n") if ":" in line
    )
    found = {
        **{name.rpartition("\0")[2].lstrip("\x80"): text for name, text in ending.items()},
        **answer.headers,
    }
    details = found.get("grpc-status-details-bin", "")
    status = status_pb2.Status.FromString(base64.b64decode(details + "=" * (-len(details) % 4)))
    body = {"code": status.code, "message": status.message, "details": [], **MessageToDict(status)}
    code = HTTP_STATUSES.get(status.code, answer.status_code)
    return httpx.Response(code, json=body, headers={"x-request-id": answer.headers["x-request-id"]})


def forged_header(name: str) -> Deed:
    """A viewer says in a header to be the admin."""

    async def strike(target: Target) -> httpx.Response:
        value = f"{target.admin.user_id}"
        return await target.get("users", {**target.viewer.headers, name: value})

    return strike


async def first_page(target: Target) -> httpx.Response:
    return await target.get("keys", target.user.headers, params={"pageSize": 1})


async def plain_key(target: Target) -> httpx.Response:
    return await target.post("keys", {"name": "laptop"}, target.user.headers)


async def sql_in_a_name(target: Target) -> httpx.Response:
    """A name is text: what it would do as SQL does not happen."""
    return await target.post("keys", {"name": "'; DROP TABLE api_keys; --"}, target.user.headers)


async def admin_reads_users(target: Target) -> httpx.Response:
    return await target.get("users", target.admin.headers)


async def who_am_i(target: Target) -> httpx.Response:
    return await target.get("me", target.user.headers)


async def key_id_that_is_sql(target: Target) -> httpx.Response:
    return await target.post("keys/1' OR '1'='1:revoke", who=target.user.headers)


async def key_that_is_not_there(target: Target) -> httpx.Response:
    return await target.post(f"keys/{NOBODY}:revoke", who=target.user.headers)


async def filter_that_is_sql(target: Target) -> httpx.Response:
    """A filter matches text, so nobody is called like this; asked as the page's own query it finds nobody."""
    answer = await target.get("users", target.admin.headers, params={"usernamePrefix": "' OR 1=1 --"})
    assert answer.json().get("users", []) == []
    return await target.get("users/' OR 1=1 --", target.admin.headers)


async def too_large_a_body(target: Target) -> httpx.Response:
    return await raw(b'{"name": "' + b"x" * 2**20 + b'"}')(target)


async def password_longer_than_any(target: Target) -> httpx.Response:
    return await target.login("admin", "x" * 1025)


async def right_login(target: Target) -> httpx.Response:
    person = await target.newcomer()
    return await target.login(person.username, person.password)


PAGE_SIZE = "a page's size out of its range"
LIMIT = "a limit out of its range"
CLAIM = "identity claimed in a header"
INNER = "a method of the mesh called from outside"

NUMBERS = (
    Attack("a negative page", keys_page("-1"), INVALID, first_page, PAGE_SIZE),
    Attack("a page beyond 32 bits", keys_page("4294967297"), INVALID, first_page, PAGE_SIZE),
    Attack("a page larger than allowed", keys_page("1001"), INVALID, first_page, PAGE_SIZE),
    Attack("a page that is no number", keys_page("1e400"), INVALID, first_page, PAGE_SIZE),
    Attack("a key that is over", key_with(expireTime="2001-01-01T00:00:00Z"), INVALID, plain_key),
    Attack("a key beyond time", key_with(expireTime="99999-01-01T00:00:00Z"), INVALID, plain_key),
    Attack("too many scopes", key_with(scopes=[f"tools.t{i}" for i in range(200)]), INVALID, plain_key),
    Attack("a scope with a star inside", key_with(scopes=["tools.*.calculator"]), INVALID, plain_key),
    Attack("an address that is none", key_with(allowedAddresses=["10.0.0.0/99"]), INVALID, plain_key),
    Attack("a name without end", key_with(name="x" * 129), INVALID, plain_key),
    Attack("a request id that is none", key_with(requestId="1"), INVALID, plain_key),
    Attack("a password longer than any", password_longer_than_any, INVALID, right_login),
)

TEXTS = (
    Attack("a user name with a line break", user_called("a\nadmin logged in"), INVALID, sql_in_a_name),
    Attack("a user name that looks like another", user_called("\u0430dmin"), INVALID, admin_reads_users),
    Attack("a user name that is taken in another case", user_called("ADMIN"), (409, "NAME_TAKEN"), who_am_i),
    Attack("SQL as a key id", key_id_that_is_sql, INVALID, own_key_revoked),
    Attack("SQL as a filter and a user id", filter_that_is_sql, INVALID, admin_reads_users),
    Attack("a key that is not there", key_that_is_not_there, (404, "KEY_NOT_FOUND"), own_key_revoked),
    Attack("JSON that ends early", raw(b'{"name": "x"'), INVALID, plain_key),
    Attack("JSON that is no object", raw(b'["name"]'), INVALID, plain_key),
    Attack(
        "JSON nested without end",
        raw(b'{"name":' + b"[" * 20_000 + b"]" * 20_000 + b"}"),
        INVALID,
        plain_key,
    ),
    Attack("text that is no UTF-8", raw(b'{"name": "\xff\xfe"}'), INVALID, plain_key),
    Attack("a body larger than allowed", too_large_a_body, (413, "INVALID_REQUEST"), plain_key),
)

HEADERS = tuple(
    Attack(
        f"identity claimed in {name}",
        forged_header(name),
        (403, "PERMISSION_MISSING"),
        admin_reads_users,
        CLAIM,
    )
    for name in (
        *("x-parley-user", "X-Parley-User", "X-PARLEY-USER", "X-PARLEY-Key", "x-parley-tenant"),
        *("x-forwarded-client-cert", "X-Forwarded-Client-Cert", "x-envoy-internal", "X-JWT-Payload"),
    )
)

HEADERS += (
    Attack(
        "identity claimed over gRPC-Web",
        grpc_web("parley.auth.v1.UserService/ListUsers", "viewer", **{"x-parley-user": "admin"}),
        (403, "PERMISSION_MISSING"),
        admin_reads_users,
        CLAIM,
    ),
    Attack(
        "identity claimed over gRPC-Web in capitals",
        grpc_web("parley.auth.v1.UserService/ListUsers", "viewer", **{"X-PARLEY-USER": "admin"}),
        (403, "PERMISSION_MISSING"),
        admin_reads_users,
        CLAIM,
    ),
)


def quota(**limits: Any) -> Deed:
    """Sets the limits of a role."""

    async def strike(target: Target) -> httpx.Response:
        body = {"quota": {"subject": {"role": "viewer"}, "limits": limits}}
        return await target.post("quotas:set", body, target.admin.headers)

    return strike


async def own_quota_raised(target: Target) -> httpx.Response:
    body = {"quota": {"subject": {"userId": target.user.user_id}, "limits": {"tokensPerDay": "1000000"}}}
    return await target.post("quotas:set", body, target.user.headers)


async def another_tenants_quota_set(target: Target) -> httpx.Response:
    body = {"quota": {"subject": {"role": "user"}}, "tenantId": target.admin.tenant_id}
    return await target.post("quotas:set", body, target.rival.headers)


async def quota_of_a_foreign_user(target: Target) -> httpx.Response:
    body = {"quota": {"subject": {"userId": target.user.user_id}, "limits": {"tokensPerDay": "1"}}}
    return await target.post("quotas:set", body, target.rival.headers)


async def price_of_a_user(target: Target) -> httpx.Response:
    """Only models have prices."""
    subject = {"userId": target.user.user_id}
    body = {"quota": {"subject": subject, "price": {"promptNanos": "1"}}}
    return await target.post("quotas:set", body, target.admin.headers)


fair_quota = quota(tokensPerDay="1000")

QUOTAS = (
    Attack("a negative quota", quota(tokensPerDay="-1"), INVALID, fair_quota, LIMIT),
    Attack("a quota beyond 64 bits", quota(tokensPerDay="18446744073709551616"), INVALID, fair_quota, LIMIT),
    Attack("a quota beyond its bound", quota(tokensPerDay="1000000000001"), INVALID, fair_quota, LIMIT),
    Attack("own quota raised", own_quota_raised, (403, "PERMISSION_MISSING"), fair_quota),
    Attack("another tenant's quota set", another_tenants_quota_set, (403, "ROOT_TENANT_ONLY"), fair_quota),
    Attack("quota of a foreign user", quota_of_a_foreign_user, (404, "QUOTA_SUBJECT_NOT_FOUND"), fair_quota),
    Attack("a price of a user", price_of_a_user, INVALID, fair_quota),
)

MESH = tuple(
    Attack(
        f"{method} called from outside",
        grpc_web(f"parley.auth.v1.{method}"),
        (501, "METHOD_UNKNOWN"),
        who_am_i,
        INNER,
    )
    for method in (
        "AuditService/RecordEvents",
        "TokenService/ExchangeToken",
        "QuotaService/GetEffectiveLimits",
        "RevocationService/WatchRevocations",
    )
)
