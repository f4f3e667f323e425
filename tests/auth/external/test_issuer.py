"""Tokens of an outside issuer: good ones are taken, others are not, and its server may misbehave."""

from __future__ import annotations

import base64
import hmac
import json
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from joserfc.jwk import ECKey, RSAKey

from services.auth.clock import utc_now
from services.auth.errors import ExternalTokenInvalid
from services.auth.external.issuer import ExternalIssuer, TokenKind
from services.auth.external.keys import (
    MAX_DOCUMENT_BYTES,
    REFETCH_SECONDS,
    REFRESH_SECONDS,
    STALE_SECONDS,
    ExternalKeys,
    http_client,
)
from services.auth.external.rules import IssuerRules, check_url
from services.rpc.errors import DependencyUnavailable
from services.rpc.tls import TlsFiles
from tests.auth.external.local_issuer import CLIENT, DISCOVERY, LocalIssuer, local_issuer

ROLES = {"staff": ("user",), "boss": ("operator", "user")}


@pytest.fixture
async def outside(identity: Callable[[str], TlsFiles]) -> AsyncIterator[LocalIssuer]:
    async with local_issuer(identity("outside")) as issuer:
        yield issuer


class Seconds:
    """A monotonic clock that is moved by hand."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def seconds() -> Seconds:
    return Seconds()


@pytest.fixture
async def trust(
    outside: LocalIssuer, identity: Callable[[str], TlsFiles], seconds: Seconds
) -> AsyncIterator[Callable[..., ExternalIssuer]]:
    """Makes a verifier of the outside issuer's tokens, with any rule changed."""
    authority = identity("outside").authority

    def rules(**changes: Any) -> IssuerRules:
        fields = {"issuer": outside.url, "audience": CLIENT, "tenant": "default", "roles": ROLES}
        return IssuerRules(**{**fields, "authority": authority, **changes})

    async with http_client(rules()) as client:

        def make(**changes: Any) -> ExternalIssuer:
            changed = rules(**changes)
            return ExternalIssuer(changed, ExternalKeys(changed, client, seconds), utc_now)

        yield make


Trust = Callable[..., ExternalIssuer]


def compact(header: dict[str, Any], claims: dict[str, Any], sign: Callable[[bytes], bytes]) -> str:
    """A token made by hand, as an attacker would who has no library to stop him."""
    signed = b".".join(
        base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=") for part in (header, claims)
    )
    return (signed + b"." + base64.urlsafe_b64encode(sign(signed)).rstrip(b"=")).decode()


def forgeries(outside: LocalIssuer) -> dict[str, str]:
    now, good = int(time.time()), outside.token()
    head, body, signature = good.split(".")
    public, foreign = outside.rsa.as_pem(private=False), RSAKey.generate_key(2048, auto_kid=False)
    stranger = ECKey.generate_key("P-256")
    return {
        "no text at all": "",
        "not a token": "parley_not_a_jwt",
        "huge": good + "A" * 9000,
        "altered body": f"{head}.{body[:-4]}AAAA.{signature}",
        "no signature": f"{head}.{body}.",
        "alg none": compact({"alg": "none", "kid": "rsa"}, outside.claims(), lambda _: b""),
        "HS256 with the public key": compact(
            {"alg": "HS256", "kid": "rsa"},
            outside.claims(),
            lambda signed: hmac.digest(public, signed, "sha256"),
        ),
        "an algorithm that is not allowed": outside.token(header={"alg": "PS256"}),
        "foreign key under a known kid": outside.token(key=foreign),
        "foreign key in the header": outside.token(
            header={"jwk": foreign.as_dict(private=False)}, key=foreign
        ),
        "keys of another place": outside.token(header={"jku": "https://localhost:1/keys"}, key=foreign),
        "unknown kid": outside.token(header={"kid": "other"}, key=foreign),
        "another type of key": outside.token(header={"alg": "ES256", "kid": "ec"}, key=stranger),
        "an access token": outside.token(header={"typ": "at+jwt"}),
        "a logout token": outside.token(header={"typ": "logout+jwt"}),
        "a type that is no text": compact({"alg": "RS256", "typ": 7}, outside.claims(), lambda _: b"x"),
        "wrong issuer": outside.token(iss="https://elsewhere.example"),
        "issuer with a slash more": outside.token(iss=outside.url + "/"),
        "wrong audience": outside.token(aud="another-client"),
        "audience that begins alike": outside.token(aud=CLIENT + "-2"),
        "no audience": outside.token(aud=None),
        "got by another client": outside.token(azp="another-client"),
        "several audiences, nobody's": outside.token(aud=[CLIENT, "another-client"]),
        "over": outside.token(exp=now - 60),
        "never over": outside.token(exp=None),
        "over at no time": outside.token(exp="tomorrow"),
        "not good yet": outside.token(nbf=now + 60),
        "issued in the future": outside.token(iat=now + 60),
        "issued at no time": outside.token(iat=None),
        "no subject": outside.token(sub=None),
        "an empty subject": outside.token(sub=""),
        "a subject that is no text": outside.token(sub=7),
        "a huge subject": outside.token(sub="s" * 256),
        "a subject with a line's end": outside.token(sub="a\nb"),
    }


@pytest.mark.parametrize("name", list(forgeries(LocalIssuer())))
async def test_a_forgery_is_refused_and_its_neighbour_is_not(
    outside: LocalIssuer, trust: Trust, name: str
) -> None:
    issuer = trust()
    assert (await issuer.verify(outside.token(), TokenKind.ID)).subject == "subject-1"
    with pytest.raises(ExternalTokenInvalid):
        await issuer.verify(forgeries(outside)[name], TokenKind.ID)


@pytest.mark.parametrize(
    "token",
    [
        lambda outside: outside.token(header={"typ": None}),
        lambda outside: outside.token(header={"alg": "ES256", "kid": "ec"}, key=outside.ec),
        lambda outside: outside.token(aud=[CLIENT]),
        lambda outside: outside.token(aud=[CLIENT, "another-client"], azp=CLIENT),
        lambda outside: outside.token(nbf=int(time.time()), iat=int(time.time()) + 5),
    ],
)
async def test_good_id_tokens_come_in_several_forms(outside: LocalIssuer, trust: Trust, token: Any) -> None:
    user = await trust().verify(token(outside), TokenKind.ID)
    assert (user.issuer, user.subject, user.name) == (outside.url, "subject-1", "ada")


async def test_an_access_token_must_say_that_it_is_one(outside: LocalIssuer, trust: Trust) -> None:
    issuer = trust()
    assert await issuer.verify(outside.token(header={"typ": "at+jwt"}), TokenKind.ACCESS)
    with pytest.raises(ExternalTokenInvalid):
        await issuer.verify(outside.token(), TokenKind.ACCESS)


@pytest.mark.parametrize(
    ("claim", "stated", "roles"),
    [
        ("roles", {"roles": ["staff", "boss", "unknown"]}, {"operator", "user"}),
        ("roles", {"roles": "staff"}, {"user"}),
        ("roles", {"roles": {"staff": True}}, set()),
        ("roles", {"roles": [1, None, ["staff"]]}, set()),
        ("groups", {}, set()),
        ("realm_access.roles", {"realm_access": {"roles": ["boss"]}}, {"operator", "user"}),
        ("realm_access.roles", {"realm_access": "boss"}, set()),
    ],
)
async def test_roles_are_mapped_by_claim(
    outside: LocalIssuer, trust: Trust, claim: str, stated: dict[str, Any], roles: set[str]
) -> None:
    user = await trust(role_claim=claim).verify(outside.token(**stated), TokenKind.ID)
    assert user.roles == roles


async def test_keys_are_fetched_once(outside: LocalIssuer, trust: Trust) -> None:
    issuer = trust()
    for _ in range(3):
        await issuer.verify(outside.token(), TokenKind.ID)
    assert outside.asked == [DISCOVERY, "/keys"]


async def test_a_place_of_keys_in_the_settings_needs_no_discovery(outside: LocalIssuer, trust: Trust) -> None:
    await trust(jwks_url=f"{outside.url}/keys").verify(outside.token(), TokenKind.ID)
    assert outside.asked == ["/keys"]


async def test_a_new_key_is_found_but_not_by_every_token(
    outside: LocalIssuer, trust: Trust, seconds: Seconds
) -> None:
    issuer = trust()
    await issuer.verify(outside.token(), TokenKind.ID)
    outside.rsa = RSAKey.generate_key(2048, {"kid": "new", "use": "sig"}, auto_kid=False)
    outside.keys.keys.append(outside.rsa)
    fresh = outside.token(header={"kid": "new"})
    for _ in range(3):
        with pytest.raises(ExternalTokenInvalid):
            await issuer.verify(fresh, TokenKind.ID)
    assert len(outside.asked) == 2
    seconds.now += REFETCH_SECONDS
    assert await issuer.verify(fresh, TokenKind.ID)


async def test_an_issuer_that_is_away_keeps_nobody_out_for_a_while(
    outside: LocalIssuer, trust: Trust, seconds: Seconds
) -> None:
    issuer = trust()
    await issuer.verify(outside.token(), TokenKind.ID)
    outside.answers[DISCOVERY] = (503, {}, b"")
    seconds.now += REFRESH_SECONDS
    assert await issuer.verify(outside.token(), TokenKind.ID)
    seconds.now += STALE_SECONDS
    with pytest.raises(DependencyUnavailable):
        await issuer.verify(outside.token(), TokenKind.ID)


@pytest.mark.parametrize(
    ("path", "answer"),
    [
        (DISCOVERY, (404, {}, b"")),
        (DISCOVERY, (302, {"location": "https://localhost:1/elsewhere"}, b"")),
        (DISCOVERY, (200, {}, b'{"issuer": "https://elsewhere.example", "jwks_uri": "/keys"}')),
        (DISCOVERY, (200, {}, b"[]")),
        (DISCOVERY, (200, {}, b"not json")),
        ("/keys", (302, {"location": "/keys2"}, b"")),
        ("/keys", (200, {}, b"{}")),
        ("/keys", (200, {}, b'{"keys": [{"kty": "oct", "k": "c2VjcmV0"}]}')),
        ("/keys", (200, {}, b'{"keys": [{"kty": "RSA", "n": "x"}, 7]}')),
        ("/keys", (200, {}, b" " * (MAX_DOCUMENT_BYTES + 1))),
    ],
)
async def test_a_server_that_misbehaves_is_not_believed(
    outside: LocalIssuer, trust: Trust, path: str, answer: Any
) -> None:
    outside.answers[path] = answer
    with pytest.raises(DependencyUnavailable):
        await trust().verify(outside.token(), TokenKind.ID)


async def test_keys_in_a_place_without_tls_are_not_fetched(outside: LocalIssuer, trust: Trust) -> None:
    document = {"issuer": outside.url, "jwks_uri": "http://keys.example/keys"}
    outside.answers[DISCOVERY] = (200, {}, json.dumps(document).encode())
    with pytest.raises(DependencyUnavailable):
        await trust().verify(outside.token(), TokenKind.ID)


async def test_a_server_whose_certificate_nobody_trusts_is_not_asked(
    outside: LocalIssuer, foreign_authority: Any
) -> None:
    rules = IssuerRules(
        issuer=outside.url,
        audience=CLIENT,
        tenant="default",
        roles=ROLES,
        authority=foreign_authority.certificate_path,
    )
    async with http_client(rules) as client:
        issuer = ExternalIssuer(rules, ExternalKeys(rules, client), utc_now)
        with pytest.raises(DependencyUnavailable):
            await issuer.verify(outside.token(), TokenKind.ID)
    assert outside.asked == []


@pytest.mark.parametrize("url", ["https://issuer.example", "http://127.0.0.1:1/x", "http://localhost:1"])
def test_urls_that_can_be_trusted(url: str) -> None:
    assert check_url(url) == url


@pytest.mark.parametrize(
    "url",
    ["http://issuer.example", "ftp://localhost", "issuer.example", "https://", "https://u:p@issuer.example"],
)
def test_urls_that_cannot(url: str) -> None:
    with pytest.raises(ValueError, match=r"must begin with https://|is not a plain URL"):
        check_url(url)
