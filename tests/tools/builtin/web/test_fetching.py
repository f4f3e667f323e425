from __future__ import annotations

import asyncio
import gzip
import ssl
import zlib
from collections.abc import Callable

import pytest

from deploy.certificates import CertificateAuthority
from services.rpc.tls import TlsFiles
from services.tools.builtin.web.fetching import MAX_HEADER_BYTES, Incoming, Outgoing, redirected
from services.tools.builtin.web.toolset import trust
from services.tools.builtin.web.urls import Target, parse_url
from services.tools.web_errors import (
    AddressNotAllowed,
    ContentUnreadable,
    HostTimeout,
    HostUnreachable,
    ResponseTooLarge,
    TooManyRedirects,
    UrlInvalid,
)
from tests.tools.builtin.web.conftest import HANG, Site, fetcher_of, redirect, resolving, response, serving


def get(url: str, **headers: str) -> Outgoing:
    return Outgoing("GET", parse_url(url), tuple(headers.items()))


async def test_a_response_is_read(site: Site) -> None:
    site.answers["/a"] = response(b"hello", "text/plain", X_Thing="1")
    found = await fetcher_of().fetch(get(site.url("/a?b=c"), accept="text/plain"))
    assert (found.status, found.body, found.header("x-thing")) == (200, b"hello", "1")
    [heard] = site.heard
    assert (heard.method, heard.target) == ("GET", "/a?b=c")
    assert heard.headers == {
        "user-agent": "parley-tools",
        "accept": "text/plain",
        "host": f"127.0.0.1:{site.port}",
        "accept-encoding": "gzip",
        "connection": "close",
    }


async def test_a_body_is_sent(site: Site) -> None:
    site.answers["/"] = response(b"")
    await fetcher_of().fetch(Outgoing("POST", parse_url(site.url()), (), b"x" * 10))
    assert (site.heard[0].method, site.heard[0].body) == ("POST", b"x" * 10)


async def test_the_checked_address_is_dialled_under_the_hosts_name(site: Site) -> None:
    site.answers["/"] = response(b"hello")
    resolve = resolving(shop_example=["127.0.0.1"])
    await fetcher_of(resolve).fetch(get(site.url(host="shop.example")))
    assert site.heard[0].headers["host"] == f"shop.example:{site.port}"


async def test_the_next_address_is_tried(site: Site) -> None:
    site.answers["/"] = response(b"hello")
    resolve = resolving(shop_example=["127.0.0.2", "127.0.0.1"])
    assert (await fetcher_of(resolve).fetch(get(site.url(host="shop.example")))).body == b"hello"


async def test_nothing_is_dialled_that_is_not_allowed(site: Site) -> None:
    with pytest.raises(AddressNotAllowed):
        await fetcher_of(opened=()).fetch(get(site.url()))
    assert not site.heard


async def test_a_name_that_answers_differently_the_next_time_gains_nothing(site: Site) -> None:
    answers = iter([["127.0.0.1"], ["169.254.169.254"]])
    asked = 0

    async def rebinding(_host: str) -> list[str]:
        nonlocal asked
        asked += 1
        return next(answers)

    site.answers["/"] = response(b"first")
    fetcher = fetcher_of(rebinding)
    assert (await fetcher.fetch(get(site.url(host="evil.example")))).body == b"first"
    assert asked == 1
    with pytest.raises(AddressNotAllowed) as caught:
        await fetcher.fetch(get(site.url(host="evil.example")))
    assert caught.value.metadata["address"] == "169.254.169.254"


@pytest.mark.parametrize(
    "location",
    [
        "http://169.254.169.254/latest/meta-data/",
        "http://[::ffff:169.254.169.254]/",
        "http://0xa9fea9fe/",
        "http://metadata.example/",
        "//10.0.0.1/",
    ],
)
async def test_every_redirect_is_checked(site: Site, location: str) -> None:
    site.answers["/"] = redirect(location)
    resolve = resolving(metadata_example=["169.254.169.254"])
    with pytest.raises(AddressNotAllowed):
        await fetcher_of(resolve).fetch(get(site.url()))


@pytest.mark.parametrize("location", ["file:///etc/passwd", "http://user:pw@127.0.0.1/", "gopher://x/"])
async def test_a_redirect_to_no_web_address_is_refused(site: Site, location: str) -> None:
    site.answers["/"] = redirect(location)
    with pytest.raises(UrlInvalid):
        await fetcher_of().fetch(get(site.url()))


async def test_redirects_are_followed_so_far(site: Site) -> None:
    site.answers |= {"/": redirect("/1"), "/1": redirect("/2"), "/2": response(b"there")}
    found = await fetcher_of(redirects=2).fetch(get(site.url()))
    assert (found.body, found.target.path) == (b"there", "/2")
    with pytest.raises(TooManyRedirects) as caught:
        await fetcher_of(redirects=1).fetch(get(site.url()))
    assert caught.value.metadata["limit"] == "1"


async def test_another_server_is_not_told_the_callers_secrets(site: Site, other_site: Site) -> None:
    site.answers["/"] = redirect(other_site.url("/there"))
    other_site.answers["/there"] = response(b"ok")
    await fetcher_of().fetch(get(site.url(), authorization="Bearer secret", cookie="a=b", accept="x/y"))
    assert site.heard[0].headers["authorization"] == "Bearer secret"
    assert "secret" not in str(other_site.heard)
    assert "cookie" not in other_site.heard[0].headers
    assert other_site.heard[0].headers["accept"] == "x/y"


@pytest.mark.parametrize(
    ("method", "status", "then"),
    [
        ("POST", 301, "GET"),
        ("POST", 303, "GET"),
        ("PUT", 302, "PUT"),
        ("PUT", 303, "GET"),
        ("HEAD", 303, "HEAD"),
        ("POST", 307, "POST"),
        ("DELETE", 308, "DELETE"),
    ],
)
def test_methods_and_bodies_go_on_as_the_rules_say(method: str, status: int, then: str) -> None:
    target = Target("http", "example.com", 80, "/")
    onward = redirected(
        Outgoing(method, target, (("content-type", "text/plain"),), b"x"),
        Incoming(target, status, (("location", "/there"),), b""),
    )
    assert onward is not None
    kept = then == method != "HEAD"
    assert (onward.method, onward.body, onward.headers) == (
        then,
        b"x" if kept else b"",
        (("content-type", "text/plain"),) if kept else (),
    )


async def test_a_body_that_is_too_large_is_refused(site: Site) -> None:
    site.answers |= {"/right": response(b"x" * 1000), "/large": response(b"x" * 1001)}
    assert len((await fetcher_of(body_bytes=1000).fetch(get(site.url("/right")))).body) == 1000
    with pytest.raises(ResponseTooLarge) as caught:
        await fetcher_of(body_bytes=1000).fetch(get(site.url("/large")))
    assert caught.value.metadata["limit_bytes"] == "1000"


async def test_a_compressed_body_is_read(site: Site) -> None:
    site.answers["/"] = response(gzip.compress(b"hello " * 100), Content_Encoding="gzip")
    assert (await fetcher_of().fetch(get(site.url()))).body == b"hello " * 100


@pytest.mark.parametrize("layers", [1, 2])
async def test_a_decompression_bomb_is_refused_before_it_swells(site: Site, layers: int) -> None:
    bomb = b"\0" * 50_000_000
    for _ in range(layers):
        bomb = gzip.compress(bomb, 6)
    site.answers["/"] = response(bomb, Content_Encoding=", ".join(["gzip"] * layers))
    with pytest.raises((ResponseTooLarge, ContentUnreadable)):
        await fetcher_of(body_bytes=100_000).fetch(get(site.url()))


@pytest.mark.parametrize(
    ("encoding", "body"),
    [
        ("br", b"x"),
        ("gzip", b"no gzip"),
        ("deflate", zlib.compress(b"x")),
        ("gzip", gzip.compress(b"x", mtime=0)[:-9] + b"#" * 20),
    ],
)
async def test_what_cannot_be_decompressed_is_told(site: Site, encoding: str, body: bytes) -> None:
    site.answers["/"] = response(body, Content_Encoding=encoding)
    with pytest.raises(ContentUnreadable):
        await fetcher_of().fetch(get(site.url()))


@pytest.mark.parametrize("headers", [{"big": "x" * MAX_HEADER_BYTES}, {f"h{n}": "x" for n in range(200)}])
async def test_headers_are_bounded(site: Site, headers: dict[str, str]) -> None:
    site.answers["/"] = response(b"", **headers)
    with pytest.raises(ResponseTooLarge):
        await fetcher_of().fetch(get(site.url()))


async def test_endless_headers_are_bounded(site: Site) -> None:
    site.answers["/"] = b"HTTP/1.1 200 OK\r\nA: " + b"x" * 300_000 + HANG
    with pytest.raises(HostUnreachable, match="HTTP"):
        await fetcher_of().fetch(get(site.url()))


@pytest.mark.parametrize("answer", [b"SSH-2.0-OpenSSH\r\n\r\n", b"", response(b"x")[:-1]])
async def test_what_is_no_http_is_told(site: Site, answer: bytes) -> None:
    site.answers["/"] = answer
    with pytest.raises(HostUnreachable):
        await fetcher_of().fetch(get(site.url()))


async def test_a_server_that_falls_silent_is_left(site: Site) -> None:
    site.answers["/"] = b"HTTP/1.1 200 OK\r\n" + HANG
    with pytest.raises(HostTimeout) as caught:
        await fetcher_of(read_seconds=0.05).fetch(get(site.url()))
    assert caught.value.metadata["phase"] == "read"


async def test_a_server_that_is_not_there_is_unreachable() -> None:
    async with serving() as gone:
        pass
    with pytest.raises(HostUnreachable, match="does not take"):
        await fetcher_of().fetch(get(gone.url()))


async def test_connecting_has_a_deadline(site: Site) -> None:
    # The site waits for the end of a request, which a TLS greeting does not have.
    with pytest.raises(HostTimeout) as caught:
        await fetcher_of(connect_seconds=0.05).fetch(get(f"https://127.0.0.1:{site.port}/"))
    assert caught.value.metadata["phase"] == "connect"


async def test_tls_is_checked_against_the_hosts_name(
    authority: CertificateAuthority, identity: Callable[[str], TlsFiles]
) -> None:
    files = identity("shop")
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server.load_cert_chain(files.certificate, files.private_key)
    resolve = resolving(shop_parley_local=["127.0.0.1"], other_example=["127.0.0.1"])
    async with serving(server) as site:
        site.answers["/"] = response(b"safe")
        trusting = fetcher_of(resolve, tls=trust(authority.certificate_path))
        found = await trusting.fetch(get(f"https://shop.parley.local:{site.port}/"))
        assert found.body == b"safe"
        with pytest.raises(HostUnreachable, match="not trusted"):
            await trusting.fetch(get(f"https://other.example:{site.port}/"))
        with pytest.raises(HostUnreachable, match="not trusted"):
            await fetcher_of(resolve).fetch(get(f"https://shop.parley.local:{site.port}/"))


async def test_tls_to_a_server_without_it_is_told(site: Site) -> None:
    server = await asyncio.start_server(lambda _r, w: w.write(b"plainly no TLS at all\r\n"), "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(HostUnreachable, match="TLS"):
            await fetcher_of().fetch(get(f"https://127.0.0.1:{port}/"))


async def test_cancelling_closes_the_connection(site: Site) -> None:
    site.answers["/"] = b"HTTP/1.1 200 OK\r\n" + HANG
    fetching = asyncio.create_task(fetcher_of().fetch(get(site.url())))
    async with asyncio.timeout(5):
        await site.asked.wait()
    fetching.cancel()
    with pytest.raises(asyncio.CancelledError):
        await fetching
