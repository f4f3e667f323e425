"""URLs that a model wrote, taken apart once.

A request is made from the parts and never from the text, so that nobody reads
the text a second time and otherwise (the root of many SSRF bypasses).
"""

from __future__ import annotations

import re
import socket
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from urllib.parse import SplitResult, quote, urljoin, urlsplit

import idna

from services.tools.web_errors import UrlInvalid

MAX_URL_CHARACTERS = 2048

_PORTS = {"http": 80, "https": 443}
_REFUSED_CHARACTERS = re.compile(r"[\x00-\x20\x7f\\]")
_LABEL = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_NAME = re.compile(rf"(?=.{{1,253}}\Z){_LABEL}(?:\.{_LABEL})*\Z")
# A name that ends so is an IPv4 address in one of its spellings, or nothing (WHATWG URL, 3.5).
_NUMBER = re.compile(r"(?:.*\.)?(?:0x[0-9a-f]*|[0-9]+)\Z")
_PATH_SAFE = "/%:@!$&'()*+,;=~"
_QUERY_SAFE = f"{_PATH_SAFE}?[]"


@dataclass(frozen=True)
class Target:
    """Where a request goes.

    Attributes:
        scheme: `http` or `https`.
        host: A name in ASCII, or an address in its usual spelling.
        port: 1 to 65,535.
        path: Path and query, in ASCII.
    """

    scheme: str
    host: str
    port: int
    path: str

    @property
    def origin(self) -> tuple[str, str, int]:
        """What has to be equal for two targets to be the same server."""
        return (self.scheme, self.host, self.port)

    @property
    def authority(self) -> str:
        """Host and port, as the Host header has them."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORTS[self.scheme] else f"{host}:{self.port}"

    def __str__(self) -> str:
        return f"{self.scheme}://{self.authority}{self.path}"

    def join(self, reference: str) -> Target:
        """Where a reference leads from here, as RFC 3986 says.

        Raises:
            UrlInvalid: Nowhere that tools may go.
        """
        _check_text(reference)
        try:
            return parse_url(urljoin(str(self), reference))
        except ValueError as error:
            raise UrlInvalid(str(error)) from None


def parse_url(text: str) -> Target:
    """Take a URL apart.

    Raises:
        UrlInvalid: It is none that tools may use.
    """
    _check_text(text)
    try:
        parts = urlsplit(text)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise UrlInvalid(str(error)) from None
    if parts.scheme not in _PORTS:
        raise UrlInvalid("it must begin with http:// or https://")
    if "@" in parts.netloc:
        raise UrlInvalid("it holds credentials; send them in a header")
    if port == 0:
        raise UrlInvalid("port 0 is no port")
    return Target(parts.scheme, _host(host or ""), port or _PORTS[parts.scheme], _path(parts))


def _check_text(text: str) -> None:
    if len(text) > MAX_URL_CHARACTERS:
        raise UrlInvalid(f"it has more than {MAX_URL_CHARACTERS} characters")
    if _REFUSED_CHARACTERS.search(text):
        raise UrlInvalid("it holds spaces, control characters or backslashes")


def _host(name: str) -> str:
    """The host in the one spelling that everything after this sees."""
    if ":" in name:
        return _in_brackets(name)
    if not name.isascii():
        try:
            name = idna.encode(name, uts46=True).decode("ascii")
        except idna.IDNAError:
            raise UrlInvalid("its host is no international domain name") from None
    name = name.removesuffix(".")
    if _NUMBER.match(name):
        try:
            return str(IPv4Address(socket.inet_aton(name)))
        except OSError:
            raise UrlInvalid("its host is no IPv4 address", name) from None
    if not _NAME.match(name):
        raise UrlInvalid("its host is no name or address", name)
    return name


def _in_brackets(name: str) -> str:
    try:
        address = IPv6Address(name)
    except ValueError:
        raise UrlInvalid("its host is no IPv6 address", name) from None
    if address.scope_id is not None:
        raise UrlInvalid("its host names a network interface", name)
    return str(address)


def _path(parts: SplitResult) -> str:
    path = quote(parts.path or "/", safe=_PATH_SAFE)
    return f"{path}?{quote(parts.query, safe=_QUERY_SAFE)}" if parts.query else path
