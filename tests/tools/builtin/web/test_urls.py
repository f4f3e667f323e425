from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.tools.builtin.web.urls import Target, parse_url
from services.tools.web_errors import UrlInvalid


@pytest.mark.parametrize(
    ("text", "parsed"),
    [
        ("http://example.com", Target("http", "example.com", 80, "/")),
        ("HTTPS://Example.COM./a?b=c#d", Target("https", "example.com", 443, "/a?b=c")),
        (
            "http://example.com:8080/ä ü".replace(" ", "%20"),
            Target("http", "example.com", 8080, "/%C3%A4%20%C3%BC"),
        ),
        ("http://bücher.example/", Target("http", "xn--bcher-kva.example", 80, "/")),
        ("http://[::1]:80/", Target("http", "::1", 80, "/")),
        ("http://[::ffff:7f00:1]/", Target("http", "::ffff:7f00:1", 80, "/")),
        ("http://a_b.example/x;y=1", Target("http", "a_b.example", 80, "/x;y=1")),
        # Spellings of 127.0.0.1
        ("http://2130706433/", Target("http", "127.0.0.1", 80, "/")),
        ("http://0x7f000001/", Target("http", "127.0.0.1", 80, "/")),
        ("http://0177.0.0.1/", Target("http", "127.0.0.1", 80, "/")),
        ("http://0x7f.1/", Target("http", "127.0.0.1", 80, "/")),
        ("http://127.1/", Target("http", "127.0.0.1", 80, "/")),
        ("http://127.0.0.1./", Target("http", "127.0.0.1", 80, "/")),
        ("http://１２７.０.０.１/", Target("http", "127.0.0.1", 80, "/")),  # noqa: RUF001 - that is the point
        ("http://127。0。0。1/", Target("http", "127.0.0.1", 80, "/")),
        ("http://①②⑦.⓪.⓪.①/", Target("http", "127.0.0.1", 80, "/")),
    ],
)
def test_a_url_has_one_reading(text: str, parsed: Target) -> None:
    assert parse_url(text) == parsed


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("file:///etc/passwd", "http"),
        ("gopher://example.com/", "http"),
        ("//example.com/", "http"),
        ("example.com", "http"),
        ("http://", "host"),
        ("http://user:secret@example.com/", "credentials"),
        ("http://example.com@127.0.0.1/", "credentials"),
        ("http://example.com\\@127.0.0.1/", "backslashes"),
        ("http://exam\tple.com/", "control"),
        ("http://example.com/\r\nHost: x", "control"),
        (" http://example.com/", "spaces"),
        ("http://example.com:99999/", "Port"),
        ("http://example.com:0/", "port 0"),
        ("http://example.com:http/", "Port"),
        ("http://1.2.3.4.5/", "IPv4"),
        ("http://0x/", "IPv4"),
        ("http://256.256.256.256/", "IPv4"),
        ("http://127.0.0.1%2f.example/", "name"),
        ("http://exa%00mple.com/", "name"),
        ("http://-bad-.example/", "name"),
        ("http://a..b/", "name"),
        (f"http://{'a' * 64}.example/", "name"),
        ("http://[fe80::1%25eth0]/", "interface"),
        ("http://[::g]/", "IPv6"),
        ("http://[::1/", "IPv6"),
        ("http://xn--a\u0378.example/", "international"),
        ("http://example.com/" + "a" * 3000, "2048"),
    ],
)
def test_what_is_no_plain_web_address_is_refused(text: str, why: str) -> None:
    with pytest.raises(UrlInvalid, match=why):
        parse_url(text)


@pytest.mark.parametrize(
    ("reference", "target"),
    [
        ("b", "https://example.com/a/b"),
        ("/b?c", "https://example.com/b?c"),
        ("//other.example/", "https://other.example/"),
        ("http://127.1/", "http://127.0.0.1/"),
        ("https://example.com:8443/", "https://example.com:8443/"),
        ("http://[::1]:8080/", "http://[::1]:8080/"),
    ],
)
def test_references_lead_on(reference: str, target: str) -> None:
    assert str(parse_url("https://example.com/a/x").join(reference)) == target


@pytest.mark.parametrize("reference", ["ftp://example.com/", "http://[", "/a b", "http://u:p@example.com/"])
def test_references_that_lead_nowhere_are_refused(reference: str) -> None:
    with pytest.raises(UrlInvalid):
        parse_url("https://example.com/").join(reference)


@given(st.text(max_size=60))
def test_whatever_is_parsed_can_be_sent(text: str) -> None:
    try:
        target = parse_url(f"http://{text}")
    except UrlInvalid:
        return
    assert parse_url(str(target)) == target
    assert str(target).isascii()
    assert not set(str(target)) & set("\r\n\t \\")
