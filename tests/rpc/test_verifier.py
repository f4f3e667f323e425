"""Tokens: ours are taken, forgeries are not, and auth may be away for a while."""

from __future__ import annotations

import base64
import hmac
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, utils
from joserfc.jwk import ECKey, KeySet

from services.rpc.errors import DependencyUnavailable, ServiceError, TokenExpired, TokenInvalid
from services.rpc.verifier import JwksVerifier
from tests.conftest import AUDIENCE, ISSUER, TokenMaker

Sign = Callable[[bytes], bytes]


def compact(header: dict[str, Any], claims: dict[str, Any], sign: Sign) -> str:
    """A token made by hand, as an attacker would who has no library to stop him."""
    signed = b".".join(
        base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=") for part in (header, claims)
    )
    return (signed + b"." + base64.urlsafe_b64encode(sign(signed)).rstrip(b"=")).decode()


def es256(key: ECKey) -> Sign:
    def sign(signed: bytes) -> bytes:
        der = key.private_key.sign(signed, ec.ECDSA(hashes.SHA256()))  # type: ignore[union-attr]
        return b"".join(number.to_bytes(32, "big") for number in utils.decode_dss_signature(der))

    return sign


def forgeries(tokens: TokenMaker) -> dict[str, str]:
    caller = tokens.principal("toy.use")
    good = tokens.token(caller)
    head, body, signature = good.split(".")
    claims = {"iss": ISSUER, "aud": AUDIENCE, **caller.claims()}
    public = tokens.key.as_pem(private=False)
    foreign = es256(ECKey.generate_key("P-256"))
    header = {"alg": "ES256", "typ": "at+jwt", "kid": "test"}
    return {
        "altered body": f"{head}.{body[:-4]}AAAA.{signature}",
        "altered signature": f"{head}.{body}.{'A' * len(signature)}",
        "alg none": compact({**header, "alg": "none"}, claims, lambda _: b""),
        "HS256 with the public key": compact(
            {**header, "alg": "HS256"}, claims, lambda signed: hmac.digest(public, signed, "sha256")
        ),
        "foreign key under our kid": compact(header, claims, foreign),
        "unknown kid": compact({**header, "kid": "other"}, claims, foreign),
        "embedded key": compact({**header, "jwk": tokens.key.as_dict(private=False)}, claims, foreign),
        "wrong issuer": tokens.token(caller, iss="elsewhere"),
        "wrong audience": tokens.token(caller, aud="elsewhere"),
        "an id token": tokens.token(caller, header={"typ": "JWT"}),
        "unknown critical header": compact({**header, "crit": ["x"], "x": 1}, claims, es256(tokens.key)),
        "no subject": compact(header, {**claims, "sub": None}, es256(tokens.key)),
        "no text at all": "",
        "huge": good + "A" * 9000,
        "not a token": "parley_not_a_jwt",
    }


async def test_a_good_token_gives_its_caller(tokens: TokenMaker) -> None:
    caller = tokens.principal("tools.*", key_id="key-1")
    found = await tokens.verifier().verify(tokens.token(caller))
    assert found.claims() == caller.claims()
    assert found.may("tools.math.calculator")
    assert not found.may("toolsmith")


@pytest.mark.parametrize("name", list(forgeries(TokenMaker())))
async def test_a_forgery_is_refused(name: str) -> None:
    tokens = TokenMaker()
    verifier = tokens.verifier()
    assert await verifier.verify(tokens.token(tokens.principal("toy.use")))
    with pytest.raises(TokenInvalid):
        await verifier.verify(forgeries(tokens)[name])


async def test_an_expired_token_is_told_from_a_forged_one(tokens: TokenMaker) -> None:
    past = datetime.now(UTC) - timedelta(seconds=1)
    with pytest.raises(TokenExpired):
        await tokens.verifier().verify(tokens.token(tokens.principal(expires_at=past)))


async def test_a_token_of_an_auth_whose_clock_is_ahead_is_taken(tokens: TokenMaker) -> None:
    ahead = datetime.now(UTC) + timedelta(hours=1)
    caller = tokens.principal("toy.use", expires_at=ahead + timedelta(minutes=15))
    found = await tokens.verifier().verify(tokens.token(caller, iat=int(ahead.timestamp())))
    assert found.claims() == caller.claims()


class FlakyAuth:
    """Gives keys, or fails."""

    def __init__(self, keys: KeySet) -> None:
        self.keys, self.up, self.asked = keys, True, 0

    async def fetch(self) -> KeySet:
        self.asked += 1
        if not self.up:
            raise grpc.RpcError
        return self.keys


async def test_tokens_in_hand_go_on_while_auth_is_down(tokens: TokenMaker) -> None:
    auth = FlakyAuth(tokens.keys)
    verifier = JwksVerifier(auth.fetch, issuer=ISSUER, audience=AUDIENCE)
    assert await verifier.verify(tokens.token(tokens.principal("a.b")))
    auth.up = False
    assert await verifier.verify(tokens.token(tokens.principal("a.b")))


async def test_without_keys_the_answer_is_to_try_again(tokens: TokenMaker) -> None:
    auth = FlakyAuth(tokens.keys)
    auth.up = False
    verifier = JwksVerifier(auth.fetch, issuer=ISSUER, audience=AUDIENCE)
    with pytest.raises(DependencyUnavailable):
        await verifier.verify(tokens.token(tokens.principal()))
    auth.up = True
    assert await verifier.verify(tokens.token(tokens.principal()))


async def test_unknown_key_ids_do_not_flood_auth(tokens: TokenMaker) -> None:
    auth = FlakyAuth(tokens.keys)
    verifier = JwksVerifier(auth.fetch, issuer=ISSUER, audience=AUDIENCE)
    for number in range(20):
        with pytest.raises(ServiceError):
            await verifier.verify(tokens.token(tokens.principal(), header={"kid": f"unknown-{number}"}))
    assert auth.asked == 1
