"""API keys guessed, stolen, spent, misplaced; sessions and refresh tokens replayed."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import httpx

from parley.auth.v1.session_service_pb2 import WhoAmIRequest
from parley.auth.v1.session_service_pb2_grpc import SessionServiceStub
from services.auth.keys import RANDOM_CHARACTERS, checksum
from tests.attacks.target import NOBODY, PASSWORD, Attack, Target, bearer
from tests.edge.answers import until_ended
from web.edge import as_page

KEY_INVALID = (401, "KEY_INVALID")
REFRESH_INVALID = (401, "REFRESH_TOKEN_INVALID")
CREDENTIALS_INVALID = (401, "CREDENTIALS_INVALID")


async def good_key(target: Target) -> httpx.Response:
    return await target.me((await target.key(target.user))["secret"])


async def guessed_by_prefix(target: Target) -> httpx.Response:
    """The prefix is shown in lists; the rest must be known too, rightly ended or not."""
    shown = (await target.key(target.user))["key"]["prefix"]
    guess = "A" * RANDOM_CHARACTERS
    return await target.me(f"{shown}_{guess}{checksum(shown.partition('_')[2] + guess)}")


async def one_character_off(target: Target) -> httpx.Response:
    secret = (await target.key(target.user))["secret"]
    middle = len(secret) - 12
    return await target.me(secret[:middle] + ("A" if secret[middle] != "A" else "B") + secret[middle + 1 :])


async def other_case(target: Target) -> httpx.Response:
    return await target.me((await target.key(target.user))["secret"].swapcase())


async def unknown_key(target: Target) -> httpx.Response:
    secret = (await target.key(target.user))["secret"]
    return await target.me(secret[::-1].replace("_", "A"))


async def revoked_key(target: Target) -> httpx.Response:
    made = await target.key(target.user)
    assert (await target.me(made["secret"])).status_code == 200
    revoked = await target.post(f"keys/{made['key']['keyId']}:revoke", who=target.user.headers)
    assert revoked.status_code == 200
    return await until_ended(lambda: target.me(made["secret"]))


async def key_of_a_disabled_user(target: Target) -> httpx.Response:
    person = await target.newcomer()
    secret = (await target.key(person))["secret"]
    disabled = await target.post(f"users/{person.user_id}:disable", who=target.admin.headers)
    assert disabled.status_code == 200, disabled.text
    return await target.me(secret)


async def from_a_foreign_address(target: Target) -> httpx.Response:
    made = await target.key(target.user, allowedAddresses=["203.0.113.0/24"])
    return await target.me(made["secret"])


async def claims_an_allowed_address(target: Target) -> httpx.Response:
    made = await target.key(target.user, allowedAddresses=["203.0.113.0/24"])
    return await target.get("me", {**bearer(made["secret"]), "x-forwarded-for": "203.0.113.7"})


async def states_an_address_as_a_neighbour(target: Target) -> httpx.Response:
    """With an identity of the mesh that is not the page's, at the port where everybody calls."""
    made = await target.key(target.user, allowedAddresses=["203.0.113.0/24"])
    stated = {**bearer(made["secret"]), "x-forwarded-for": "203.0.113.7"}
    async with target.edge.http(as_service=target.neighbour) as client:
        return await client.get("/api/v1/me", headers=stated)


async def states_an_address_as_the_page(target: Target) -> httpx.Response:
    made = await target.key(target.user, allowedAddresses=["203.0.113.0/24"])
    async with as_page(target.edge.address, target.page, "parley.local") as channel:
        stated = (("authorization", f"Bearer {made['secret']}"), ("x-forwarded-for", "203.0.113.7"))
        who = await SessionServiceStub(channel).WhoAmI(WhoAmIRequest(), metadata=stated, timeout=10)
    return httpx.Response(200, text=who.username)


async def from_an_allowed_address(target: Target) -> httpx.Response:
    made = await target.key(target.user, allowedAddresses=["127.0.0.0/8"])
    return await target.me(made["secret"])


async def key_in_the_query(target: Target) -> httpx.Response:
    secret = (await target.key(target.user))["secret"]
    return await target.get("me", params={"key": secret})


async def key_in_its_header(target: Target) -> httpx.Response:
    return await target.get("me", {"x-api-key": (await target.key(target.user))["secret"]})


async def key_beyond_its_scopes(target: Target) -> httpx.Response:
    made = await target.key(target.admin, scopes=["tools.list"])
    return await target.get("users", bearer(made["secret"]))


async def key_within_its_scopes(target: Target) -> httpx.Response:
    made = await target.key(target.admin, scopes=["auth.users.read"])
    return await target.get("users", bearer(made["secret"]))


async def scopes_beyond_the_owner(target: Target) -> httpx.Response:
    return await target.post("keys", {"name": "more", "scopes": ["auth.users.write"]}, target.user.headers)


async def scopes_of_the_owner(target: Target) -> httpx.Response:
    return await target.post("keys", {"name": "less", "scopes": ["tools.list"]}, target.user.headers)


async def a_key_makes_a_wider_key(target: Target) -> httpx.Response:
    """What a key may do bounds what it may pass on, whatever its owner may."""
    narrow = await target.key(target.admin, scopes=["auth.keys", "tools.list"])
    return await target.post("keys", {"name": "wide", "scopes": ["*"]}, bearer(narrow["secret"]))


async def a_key_makes_a_narrower_key(target: Target) -> httpx.Response:
    narrow = await target.key(target.admin, scopes=["auth.keys", "tools.list"])
    return await target.post("keys", {"name": "same", "scopes": ["tools.list"]}, bearer(narrow["secret"]))


async def another_tenants_key_revoked(target: Target) -> httpx.Response:
    made = await target.key(target.user)
    return await target.post(f"keys/{made['key']['keyId']}:revoke", who=target.rival.headers)


async def another_users_key_revoked(target: Target) -> httpx.Response:
    made = await target.key(target.admin)
    return await target.post(f"keys/{made['key']['keyId']}:revoke", who=target.user.headers)


async def own_key_revoked(target: Target) -> httpx.Response:
    made = await target.key(target.user)
    return await target.post(f"keys/{made['key']['keyId']}:revoke", who=target.user.headers)


async def rotated_key_after_its_overlap(target: Target) -> httpx.Response:
    made = await target.key(target.user)
    body = {"overlap": "0s"}
    turned = await target.post(f"keys/{made['key']['keyId']}:rotate", body, target.user.headers)
    assert turned.status_code == 200, turned.text
    return await target.me(made["secret"])


async def rotated_key_within_its_overlap(target: Target) -> httpx.Response:
    made = await target.key(target.user)
    await target.post(f"keys/{made['key']['keyId']}:rotate", {"overlap": "60s"}, target.user.headers)
    return await target.me(made["secret"])


async def refreshed(target: Target, token: str) -> httpx.Response:
    return await target.post("sessions:refresh", {"refreshToken": token})


async def replayed_refresh(target: Target) -> httpx.Response:
    person = await target.newcomer()
    assert (await refreshed(target, person.refresh_token)).status_code == 200
    return await refreshed(target, person.refresh_token)


async def refresh_of_a_family_that_was_replayed(target: Target) -> httpx.Response:
    """The thief's and the owner's next token both end with the replay."""
    person = await target.newcomer()
    newest = (await refreshed(target, person.refresh_token)).json()["tokens"]["refreshToken"]
    await refreshed(target, person.refresh_token)
    return await refreshed(target, newest)


async def refresh_after_logout(target: Target) -> httpx.Response:
    person = await target.newcomer()
    assert (await target.post("sessions:logout", who=person.headers)).status_code == 200
    return await refreshed(target, person.refresh_token)


async def access_after_logout(target: Target) -> httpx.Response:
    """Each service learns of it, within a second where the machine lets it."""
    person = await target.newcomer()
    assert (await target.post("sessions:logout", who=person.headers)).status_code == 200
    answer = await target.me(person.token)
    with suppress(TimeoutError):
        async with asyncio.timeout(15):
            while answer.status_code == 200:
                answer = await target.me(person.token)
    return answer


async def access_token_as_refresh(target: Target) -> httpx.Response:
    return await refreshed(target, target.user.token[:512])


async def first_refresh(target: Target) -> httpx.Response:
    return await refreshed(target, (await target.newcomer()).refresh_token)


async def own_token(target: Target) -> httpx.Response:
    return await target.me((await target.newcomer()).token)


async def another_users_session_ended(target: Target) -> httpx.Response:
    session = target.claims(target.admin)["sid"]
    return await target.post(f"sessions/{session}:end", who=target.user.headers)


async def own_session_ended(target: Target) -> httpx.Response:
    person = await target.newcomer()
    return await target.post(f"sessions/{target.claims(person)['sid']}:end", who=person.headers)


async def wrong_password(target: Target) -> httpx.Response:
    return await target.login((await target.newcomer()).username, "wrong")


async def unknown_user(target: Target) -> httpx.Response:
    return await target.login("nobody-at-all", "wrong")


async def look_alike_name(target: Target) -> httpx.Response:
    """Cyrillic letters that look like `user`."""
    return await target.login("\u0443s\u0435r", PASSWORD)


async def injected_name(target: Target) -> httpx.Response:
    return await target.login("admin' OR '1'='1' --", PASSWORD)


async def disabled_user(target: Target) -> httpx.Response:
    person = await target.newcomer()
    await target.post(f"users/{person.user_id}:disable", who=target.admin.headers)
    return await target.login(person.username, person.password)


async def right_password(target: Target) -> httpx.Response:
    return await target.login((await target.newcomer()).username, PASSWORD)


async def service_account_logs_in(target: Target) -> httpx.Response:
    name = f"robot-{(await target.newcomer()).username}"
    body = {"username": name, "kind": "USER_KIND_SERVICE", "roles": ["user"]}
    assert (await target.post("users", body, target.admin.headers)).status_code == 200
    return await target.login(name, PASSWORD)


async def guessing_on_and_on(target: Target) -> httpx.Response:
    person = await target.newcomer()
    for _ in range(40):
        answer = await target.login(person.username, "wrong")
        if answer.status_code != 401:
            return answer
    return answer


async def other_users_password_changed(target: Target) -> httpx.Response:
    body = {"currentPassword": "not the user's own", "newPassword": PASSWORD}
    return await target.post("me:changePassword", body, target.user.headers)


async def own_password_changed(target: Target) -> httpx.Response:
    body = {"currentPassword": PASSWORD, "newPassword": PASSWORD + "!"}
    return await target.post("me:changePassword", body, (await target.newcomer()).headers)


async def key_of_nobody_made(target: Target) -> httpx.Response:
    return await target.post("keys", {"name": "x", "userId": NOBODY}, target.admin.headers)


async def key_of_a_service_account_made(target: Target) -> httpx.Response:
    name = f"robot-{(await target.newcomer()).username}"
    body = {"username": name, "kind": "USER_KIND_SERVICE", "roles": ["user"]}
    made = (await target.post("users", body, target.admin.headers)).json()["user"]
    return await target.post("keys", {"name": "x", "userId": made["userId"]}, target.admin.headers)


KEYS = (
    Attack("key guessed by its prefix", guessed_by_prefix, KEY_INVALID, good_key),
    Attack("key one character off", one_character_off, KEY_INVALID, good_key),
    Attack("key in another case", other_case, (401, "TOKEN_INVALID"), good_key),
    Attack("revoked key", revoked_key, KEY_INVALID, good_key),
    Attack("key of a disabled user", key_of_a_disabled_user, KEY_INVALID, good_key),
    Attack(
        "key from a foreign address",
        from_a_foreign_address,
        (403, "KEY_ADDRESS_NOT_ALLOWED"),
        from_an_allowed_address,
    ),
    Attack(
        "allowed address claimed in a header",
        claims_an_allowed_address,
        (403, "KEY_ADDRESS_NOT_ALLOWED"),
        from_an_allowed_address,
    ),
    Attack(
        "an address stated by a neighbour of the page",
        states_an_address_as_a_neighbour,
        (403, "KEY_ADDRESS_NOT_ALLOWED"),
        states_an_address_as_the_page,
    ),
    Attack("key in the query", key_in_the_query, (400, "INVALID_REQUEST"), key_in_its_header),
    Attack(
        "key beyond its scopes", key_beyond_its_scopes, (403, "PERMISSION_MISSING"), key_within_its_scopes
    ),
    Attack(
        "scopes beyond the owner",
        scopes_beyond_the_owner,
        (403, "SCOPE_EXCEEDS_OWNER"),
        scopes_of_the_owner,
    ),
    Attack(
        "a key makes a wider key",
        a_key_makes_a_wider_key,
        (403, "SCOPE_EXCEEDS_OWNER"),
        a_key_makes_a_narrower_key,
    ),
    Attack(
        "another tenant's key revoked", another_tenants_key_revoked, (404, "KEY_NOT_FOUND"), own_key_revoked
    ),
    Attack("another user's key revoked", another_users_key_revoked, (404, "KEY_NOT_FOUND"), own_key_revoked),
    Attack(
        "rotated key after its overlap",
        rotated_key_after_its_overlap,
        KEY_INVALID,
        rotated_key_within_its_overlap,
    ),
    Attack("key for nobody", key_of_nobody_made, (404, "USER_NOT_FOUND"), key_of_a_service_account_made),
)

SESSIONS = (
    Attack("replayed refresh token", replayed_refresh, REFRESH_INVALID, first_refresh),
    Attack("the family of a replay", refresh_of_a_family_that_was_replayed, REFRESH_INVALID, first_refresh),
    Attack("refresh after logout", refresh_after_logout, REFRESH_INVALID, first_refresh),
    Attack("access after logout", access_after_logout, (401, "TOKEN_REVOKED"), own_token),
    Attack("access token as refresh token", access_token_as_refresh, REFRESH_INVALID, first_refresh),
    Attack(
        "another user's session ended",
        another_users_session_ended,
        (404, "SESSION_NOT_FOUND"),
        own_session_ended,
    ),
    Attack("wrong password", wrong_password, CREDENTIALS_INVALID, right_password),
    Attack("unknown user", unknown_user, CREDENTIALS_INVALID, right_password),
    Attack("look-alike name", look_alike_name, CREDENTIALS_INVALID, right_password),
    Attack("SQL in the user name", injected_name, CREDENTIALS_INVALID, right_password),
    Attack("disabled user", disabled_user, CREDENTIALS_INVALID, right_password),
    Attack("service account with a password", service_account_logs_in, CREDENTIALS_INVALID, right_password),
    Attack("guessing on and on", guessing_on_and_on, (429, "LOGIN_THROTTLED"), right_password),
    Attack(
        "password changed without the old one",
        other_users_password_changed,
        (400, "PASSWORD_WRONG"),
        own_password_changed,
    ),
)
