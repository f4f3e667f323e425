"""Forged, altered and misplaced access tokens."""

from __future__ import annotations

import base64
import hmac
import json
from typing import Any

import httpx
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from joserfc.jwk import ECKey

from tests.attacks.target import Attack, Deed, Target

INVALID = (401, "TOKEN_INVALID")
EXPIRED = (401, "TOKEN_EXPIRED")
MISSING = (401, "TOKEN_MISSING")


def _part(value: Any) -> str:
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


async def own_token(target: Target) -> httpx.Response:
    """The neighbour of every forgery: the person's own token."""
    return await target.me(target.user.token)


def changed(*, header: dict[str, Any] | None = None, **claims: Any) -> Deed:
    """Shows a token that is wrong in these things alone."""

    async def strike(target: Target) -> httpx.Response:
        return await target.me(target.signed(target.user, header=header, **claims))

    return strike


async def unsigned(target: Target) -> httpx.Response:
    header = {"alg": "none", "typ": "at+jwt"}
    return await target.me(f"{_part(header)}.{_part(target.claims(target.admin))}.")


async def public_key_as_secret(target: Target) -> httpx.Response:
    header = {"alg": "HS256", "typ": "at+jwt", "kid": target.signing_key.kid}
    signed = f"{_part(header)}.{_part(target.claims(target.admin))}"
    signature = hmac.digest(target.signing_key.as_pem(private=False), signed.encode(), "sha256")
    return await target.me(f"{signed}.{_part(signature)}")


async def critical_header(target: Target) -> httpx.Response:
    """Rightly signed, by hand: a library that knows the rule (RFC 7515, section 4.1.11) does not make it."""
    header = {"alg": "ES256", "typ": "at+jwt", "kid": target.signing_key.kid, "crit": ["parley"], "parley": 1}
    signed = f"{_part(header)}.{_part(target.claims(target.user))}"
    pair = target.signing_key.private_key.sign(signed.encode(), ECDSA(SHA256()))
    signature = b"".join(number.to_bytes(32, "big") for number in decode_dss_signature(pair))
    return await target.me(f"{signed}.{_part(signature)}")


async def signed_by_a_stranger(target: Target) -> httpx.Response:
    return await target.me(target.signed(target.admin, key=ECKey.generate_key("P-256")))


async def key_in_the_header(target: Target) -> httpx.Response:
    key = ECKey.generate_key("P-256")
    return await target.me(target.signed(target.admin, key=key, header={"jwk": key.as_dict(private=False)}))


def key_elsewhere(name: str, value: Any) -> Deed:
    """Names a place where the verifier shall fetch the attacker's key."""

    async def strike(target: Target) -> httpx.Response:
        return await target.me(
            target.signed(target.admin, key=ECKey.generate_key("P-256"), header={name: value, "kid": "mine"})
        )

    return strike


async def more_rights(target: Target) -> httpx.Response:
    header, claims, signature = target.viewer.token.split(".")
    body = {**json.loads(base64.urlsafe_b64decode(claims + "==")), "scope": "*", "roles": ["admin"]}
    return await target.me(f"{header}.{_part(body)}.{signature}")


async def signature_cut(target: Target) -> httpx.Response:
    return await target.me(target.user.token[:-4])


async def huge(target: Target) -> httpx.Response:
    return await target.me(target.signed(target.user, padding="x" * 9000))


async def in_the_query(target: Target) -> httpx.Response:
    return await target.get("me", params={"access_token": target.user.token})


async def in_a_cookie(target: Target) -> httpx.Response:
    return await target.get("me", {"cookie": f"access_token={target.user.token}"})


async def other_scheme(target: Target) -> httpx.Response:
    return await target.get("me", {"authorization": f"Basic {target.user.token}"})


async def two_credentials(target: Target) -> httpx.Response:
    headers = [("authorization", f"Bearer {target.user.token}"), ("authorization", "Bearer forged")]
    return await target.client.get("/api/v1/me", headers=headers)


async def refresh_token_as_access(target: Target) -> httpx.Response:
    return await target.me(target.user.refresh_token)


async def anonymous(target: Target) -> httpx.Response:
    return await target.get("me")


async def jwks_is_public(target: Target) -> httpx.Response:
    return await target.client.get("/.well-known/jwks.json")


FETCHED = "a header that says where the key is"
ALIEN = "a key id that is none of ours"

TOKENS = (
    Attack("no token", anonymous, MISSING, jwks_is_public),
    Attack("alg none", unsigned, INVALID, own_token),
    Attack("HS256 with the public key", public_key_as_secret, INVALID, own_token),
    Attack("signed by a stranger under our key id", signed_by_a_stranger, INVALID, own_token),
    Attack("unknown key id", changed(header={"kid": "unknown"}), INVALID, own_token, ALIEN),
    Attack("key id that is a path", changed(header={"kid": "../../../dev/null"}), INVALID, own_token, ALIEN),
    Attack("the key comes in the header", key_in_the_header, INVALID, own_token),
    Attack("jku to the attacker", key_elsewhere("jku", "http://127.0.0.1:1/k"), INVALID, own_token, FETCHED),
    Attack("x5u to the attacker", key_elsewhere("x5u", "http://127.0.0.1:1/c"), INVALID, own_token, FETCHED),
    Attack("critical header that nobody knows", critical_header, INVALID, own_token),
    Attack("another type of token", changed(header={"typ": "id+jwt"}), INVALID, own_token),
    Attack("other issuer", changed(iss="https://attacker.example"), INVALID, own_token),
    Attack("other audience", changed(aud="elsewhere"), INVALID, own_token),
    Attack("expired", changed(exp=1_000_000_000), EXPIRED, own_token),
    Attack("without an end", changed(exp=None), INVALID, own_token),
    Attack("not valid yet", changed(nbf=4_000_000_000), INVALID, own_token),
    Attack("without a subject", changed(sub=None), INVALID, own_token),
    Attack("rights added to a signed token", more_rights, INVALID, own_token),
    Attack("signature cut short", signature_cut, INVALID, own_token),
    Attack("a token larger than any", huge, INVALID, own_token),
    Attack("token in the query", in_the_query, (400, "INVALID_REQUEST"), own_token),
    Attack("token in a cookie", in_a_cookie, MISSING, own_token),
    Attack("token under another scheme", other_scheme, MISSING, own_token),
    Attack("two credentials at once", two_credentials, MISSING, own_token),
    Attack("refresh token as access token", refresh_token_as_access, INVALID, own_token),
)
