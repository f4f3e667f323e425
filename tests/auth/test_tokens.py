"""Access tokens, and forgeries of them."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from joserfc import jws, jwt
from joserfc.jwk import ECKey, OctKey

from services.auth.grants import Grant
from services.auth.signing_keys import SigningKeys
from services.auth.tokens import AccessTokens
from services.rpc.errors import TokenExpired, TokenInvalid
from services.rpc.verifier import JwksVerifier
from tests.auth.conftest import FakeClock

LIFE = timedelta(minutes=15)
GRANT = Grant("user", "ada", "tenant", ("user",), frozenset({"inference.chat", "tools.*"}), session_id="s")


@pytest.fixture
def keys(tmp_path: Path, clock: FakeClock) -> SigningKeys:
    return SigningKeys(tmp_path, clock, LIFE)


@pytest.fixture
def tokens(keys: SigningKeys, clock: FakeClock) -> AccessTokens:
    return AccessTokens(keys, clock, issuer="parley", audience="parley", life=LIFE)


@pytest.fixture
def verifier(tokens: AccessTokens) -> JwksVerifier:
    return JwksVerifier(tokens.key_set, issuer="parley", audience="parley")


async def test_a_token_says_who_and_what(tokens: AccessTokens, verifier: JwksVerifier) -> None:
    principal = await verifier.verify(tokens.issue(GRANT).text)
    assert (principal.user_id, principal.username, principal.tenant_id) == ("user", "ada", "tenant")
    assert principal.permissions == GRANT.permissions
    assert (principal.session_id, principal.key_id, principal.roles) == ("s", "", ("user",))


def test_header_and_claims_are_those_of_rfc_9068(tokens: AccessTokens, keys: SigningKeys) -> None:
    decoded = jwt.decode(tokens.issue(GRANT).text, keys.signer(), algorithms=["ES256"])
    assert decoded.header == {"alg": "ES256", "typ": "at+jwt", "kid": keys.signer().kid}
    assert {"iss", "sub", "aud", "exp", "iat", "jti", "scope"} <= decoded.claims.keys()
    assert decoded.claims["exp"] - decoded.claims["iat"] == LIFE.total_seconds()
    assert decoded.claims["scope"] == "inference.chat tools.*"


def test_no_two_tokens_share_an_id(tokens: AccessTokens, keys: SigningKeys) -> None:
    ids = {jwt.decode(tokens.issue(GRANT).text, keys.signer()).claims["jti"] for _ in range(20)}
    assert len(ids) == 20


def test_a_token_ends_with_its_grant(tokens: AccessTokens, clock: FakeClock) -> None:
    soon = clock() + timedelta(minutes=1)
    grant = Grant("user", "ada", "tenant", (), frozenset(), key_id="k", not_after=soon)
    assert tokens.issue(grant).expires_at == soon


async def test_a_token_outlives_the_rotation_of_its_key(
    tokens: AccessTokens, keys: SigningKeys, verifier: JwksVerifier
) -> None:
    token = tokens.issue(GRANT).text
    keys.rotate(timedelta(0))
    assert (await verifier.verify(token)).user_id == "user"


def test_only_public_parts_are_published(tokens: AccessTokens) -> None:
    (jwk,) = tokens.public_jwks()
    assert jwk.keys() == {"kty", "crv", "x", "y", "kid", "use", "alg"}


async def test_an_expired_token_is_refused_as_such(
    tokens: AccessTokens, verifier: JwksVerifier, clock: FakeClock
) -> None:
    clock.advance(minutes=-16)
    with pytest.raises(TokenExpired):
        await verifier.verify(tokens.issue(GRANT).text)


def _part(content: dict[str, Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(content).encode()).decode().rstrip("=")


def _claims(good: str) -> dict[str, Any]:
    body = good.split(".")[1]
    return dict(json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4))))


def _none(good: str, key: ECKey) -> str:
    return f"{_part({'alg': 'none', 'typ': 'at+jwt', 'kid': key.kid})}.{good.split('.')[1]}."


def _hmac_with_the_public_key(good: str, key: ECKey) -> str:
    public = key.as_pem(private=False)
    registry = jws.JWSRegistry(algorithms=["HS256"])
    secret = OctKey.import_key(base64.urlsafe_b64encode(public).decode())
    header = {"alg": "HS256", "typ": "at+jwt", "kid": key.kid}
    return jwt.encode(header, _claims(good), secret, registry=registry)


def _tampered(good: str, key: ECKey) -> str:
    head, _, signature = good.split(".")
    return f"{head}.{_part({**_claims(good), 'scope': '*'})}.{signature}"


def _stranger_with_our_kid(good: str, key: ECKey) -> str:
    stranger = ECKey.generate_key("P-256", {"kid": key.kid})
    return jwt.encode({"alg": "ES256", "typ": "at+jwt", "kid": key.kid}, _claims(good), stranger)


def _key_in_the_header(good: str, key: ECKey) -> str:
    stranger = ECKey.generate_key("P-256", {"kid": "mine"})
    header = {"alg": "ES256", "typ": "at+jwt", "kid": "mine", "jwk": stranger.as_dict(private=False)}
    return jwt.encode(header, _claims(good), stranger)


def _with(**changes: Any) -> Callable[[str, ECKey], str]:
    def forge(good: str, key: ECKey) -> str:
        header = {"alg": "ES256", "typ": changes.get("typ", "at+jwt"), "kid": key.kid}
        claims = {**_claims(good), **{name: value for name, value in changes.items() if name != "typ"}}
        return jwt.encode(header, {name: value for name, value in claims.items() if value is not None}, key)

    return forge


FORGERIES: dict[str, Callable[[str, ECKey], str]] = {
    "alg none": _none,
    "HS256 with the public key": _hmac_with_the_public_key,
    "claims replaced": _tampered,
    "another key under our kid": _stranger_with_our_kid,
    "its own key in the header": _key_in_the_header,
    "wrong audience": _with(aud="elsewhere"),
    "no audience": _with(aud=None),
    "wrong issuer": _with(iss="https://evil.example"),
    "no expiry": _with(exp=None),
    "an ID token's type": _with(typ="JWT"),
    "signature cut off": lambda good, key: good.rsplit(".", 1)[0] + ".",
    "signature of another token": lambda good, key: good[:-4] + ("AAAA" if good[-4:] != "AAAA" else "BBBB"),
    "not a token": lambda good, key: "a.b.c",
    "huge": lambda good, key: good + "A" * 10_000,
}


@pytest.mark.parametrize("forge", FORGERIES.values(), ids=FORGERIES.keys())
async def test_a_forgery_is_refused(
    forge: Callable[[str, ECKey], str], tokens: AccessTokens, keys: SigningKeys, verifier: JwksVerifier
) -> None:
    good = tokens.issue(GRANT).text
    with pytest.raises(TokenInvalid):
        await verifier.verify(forge(good, keys.signer()))
    assert (await verifier.verify(good)).user_id == "user"


def test_the_private_key_never_leaves_in_pem_either(tokens: AccessTokens, keys: SigningKeys) -> None:
    public = keys.signer().as_pem(private=False)
    assert serialization.load_pem_public_key(public) is not None
    assert b"PRIVATE" not in public


def test_the_token_is_not_in_the_repr(tokens: AccessTokens) -> None:
    token = tokens.issue(GRANT)
    assert token.text not in repr(token)
