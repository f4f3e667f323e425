"""An OpenID Connect issuer of the test's own, over loopback HTTPS."""

from __future__ import annotations

import asyncio
import json
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from joserfc import jwt
from joserfc.jwk import ECKey, KeySet, RSAKey

from services.rpc.tls import TlsFiles

CLIENT = "parley-client"
DISCOVERY = "/.well-known/openid-configuration"


class LocalIssuer:
    """Signs tokens, and answers with its documents, or with whatever a test puts in their place."""

    def __init__(self) -> None:
        self.url = ""
        self.rsa = RSAKey.generate_key(2048, {"kid": "rsa", "use": "sig"}, auto_kid=False)
        self.ec = ECKey.generate_key("P-256", {"kid": "ec", "use": "sig"})
        self.keys = KeySet([self.rsa, self.ec])
        self.answers: dict[str, tuple[int, dict[str, str], bytes]] = {}
        self.asked: list[str] = []

    def document(self, path: str) -> tuple[int, dict[str, str], bytes]:
        if path in self.answers:
            return self.answers[path]
        documents = {
            DISCOVERY: {"issuer": self.url, "jwks_uri": f"{self.url}/keys"},
            "/keys": self.keys.as_dict(private=False),
        }
        if path not in documents:
            return 404, {}, b""
        return 200, {}, json.dumps(documents[path]).encode()

    def claims(self, **changes: Any) -> dict[str, Any]:
        """Good claims, with any changed; None takes one away."""
        now = int(time.time())
        good = {
            "iss": self.url,
            "aud": CLIENT,
            "sub": "subject-1",
            "exp": now + 300,
            "iat": now,
            "preferred_username": "ada",
            "roles": ["staff"],
        }
        return {name: value for name, value in {**good, **changes}.items() if value is not None}

    def token(self, header: dict[str, Any] | None = None, key: Any = None, **changes: Any) -> str:
        """A signed ID token, with any header or claim changed."""
        whole = {"alg": "RS256", "kid": "rsa", "typ": "JWT", **(header or {})}
        whole = {name: value for name, value in whole.items() if value is not None}
        return jwt.encode(whole, self.claims(**changes), key or self.rsa, algorithms=[whole["alg"]])

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one request and close."""
        request = (await reader.readuntil(b"\r\n\r\n")).decode()
        path = request.split(" ")[1]
        self.asked.append(path)
        status, headers, body = self.document(path)
        head = {"content-length": str(len(body)), "connection": "close", **headers}
        lines = [f"HTTP/1.1 {status} X", *(f"{name}: {value}" for name, value in head.items()), "", ""]
        writer.write("\r\n".join(lines).encode() + body)
        try:
            await writer.drain()
        except ConnectionError:
            pass  # the client had enough
        finally:
            writer.close()


@asynccontextmanager
async def local_issuer(tls: TlsFiles) -> AsyncIterator[LocalIssuer]:
    """Run an issuer at `https://localhost`."""
    issuer, context = LocalIssuer(), ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(tls.certificate, tls.private_key)
    server = await asyncio.start_server(issuer.answer, "127.0.0.1", 0, ssl=context)
    issuer.url = f"https://localhost:{server.sockets[0].getsockname()[1]}"
    async with server:
        yield issuer
