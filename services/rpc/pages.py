"""Opaque page tokens (AIP-158), good only for the query that they were made for."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets

from google.protobuf.message import Message

from services.rpc.errors import PageTokenInvalid

DEFAULT_PAGE_SIZE = 100
DIGEST_BYTES = 16


class PageTokens:
    """Makes and reads page tokens under a key.

    Replicas that must read each other's tokens share the key.
    """

    def __init__(self, key: bytes | None = None) -> None:
        """Use this key, or a new random one."""
        self._key = key or secrets.token_bytes(32)

    def encode(self, position: str, query: Message, owner: str) -> str:
        """A token that continues after `position`.

        Args:
            position: Where the page ended, in the order of the list.
            query: The request; its page size and token may change between pages.
            owner: Who asked; nobody else can use the token.
        """
        digest = self._digest(position, query, owner)
        body = json.dumps([position, digest.hex()], separators=(",", ":"))
        return base64.urlsafe_b64encode(body.encode()).decode().rstrip("=")

    def decode(self, token: str, query: Message, owner: str) -> str:
        """The position that the token continues after; empty for an empty token.

        Raises:
            PageTokenInvalid: It was not made for this query and owner.
        """
        if not token:
            return ""
        try:
            padded = token + "=" * (-len(token) % 4)
            position, digest = json.loads(base64.b64decode(padded, altchars=b"-_", validate=True))
            given = bytes.fromhex(digest)
        except (ValueError, TypeError, RecursionError):  # `binascii.Error` is a ValueError
            raise PageTokenInvalid from None
        if not isinstance(position, str) or not hmac.compare_digest(
            given, self._digest(position, query, owner)
        ):
            raise PageTokenInvalid
        return position

    def _digest(self, position: str, query: Message, owner: str) -> bytes:
        """Binds the position to the query, without its paging fields, and to the owner."""
        plain = type(query)()
        plain.CopyFrom(query)
        plain.ClearField("page_token")
        plain.ClearField("page_size")
        bound = json.dumps(
            [position, owner, plain.DESCRIPTOR.full_name, plain.SerializeToString(deterministic=True).hex()]
        )
        return hmac.digest(self._key, bound.encode(), hashlib.sha256)[:DIGEST_BYTES]


def page_size(requested: int) -> int:
    """How many items a page has: what was asked for, or the default for 0."""
    return requested or DEFAULT_PAGE_SIZE
