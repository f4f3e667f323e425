"""Requests that lead where no tool may go, and answers that no client survives."""

from __future__ import annotations

import gzip

from tests.attacks.tool_stack import RESPONSE_BYTES
from tests.attacks.tool_target import Deed, Outcome, ToolAttack, ToolTarget, at_site, call
from tests.tools.builtin.web.conftest import redirect, response

ADDRESS = ("PERMISSION_DENIED", "ADDRESS_NOT_ALLOWED")
URL = ("INVALID_ARGUMENT", "URL_INVALID")
HEADER = ("INVALID_ARGUMENT", "HEADER_NOT_ALLOWED")
LARGE = ("RESOURCE_EXHAUSTED", "RESPONSE_TOO_LARGE")
UNREADABLE = ("FAILED_PRECONDITION", "CONTENT_UNREADABLE")
METADATA_SPELLINGS = (
    "169.254.169.254",
    "2852039166",
    "0xa9fea9fe",
    "0251.0376.0251.0376",
    "0xa9.254.0251.254",
    "169.254.43518",
    "169.254.169.254.",
    "[::ffff:169.254.169.254]",
    "[64:ff9b::a9fe:a9fe]",
    "[fd00:ec2::254]",
    "①⑥⑨.254.169.254",
)


def fetched(url: str, **arguments: object) -> Deed:
    return call("api_request", "operator", url=url, **arguments)


def answered(answer: bytes, tool: str = "api_request", **arguments: object) -> Deed:
    """Asks the site, which answers so."""

    async def deed(target: ToolTarget) -> Outcome:
        target.site.answers["/answer"] = answer
        return await at_site(tool, "/answer", **arguments)(target)

    return deed


async def metadata_in_every_spelling(target: ToolTarget) -> Outcome:
    outcomes = [await fetched(f"http://{host}/latest/")(target) for host in METADATA_SPELLINGS]
    assert {(outcome.code, outcome.reason) for outcome in outcomes} == {ADDRESS}, outcomes
    return outcomes[-1]


async def rebinding(target: ToolTarget) -> Outcome:
    """The name's first answer is good; the site sends back to it, and then it means something else."""
    target.site.answers["/again"] = redirect(f"http://rebinding.example:{target.site.port}/done")
    outcome = await fetched(f"http://rebinding.example:{target.site.port}/again")(target)
    assert target.site.heard[-1].target == "/again"
    return outcome


def named(host: str, path: str = "/fine") -> Deed:
    """Asks whoever has this name, on the site's port."""

    async def deed(target: ToolTarget) -> Outcome:
        target.site.answers["/fine"] = response(b"fine")
        return await fetched(f"http://{host}:{target.site.port}{path}")(target)

    return deed


async def headers_that_split(target: ToolTarget) -> Outcome:
    """A header's value would be a second request."""
    heard = len(target.site.heard)
    headers = {"x-note": "a\r\n\r\nGET /secret HTTP/1.1\r\nHost: x"}
    outcome = await at_site("api_request", "/fine", headers=headers)(target)
    assert len(target.site.heard) == heard
    return outcome


async def round_and_round(target: ToolTarget) -> Outcome:
    target.site.answers["/round"] = redirect(target.site.url("/round"))
    return await at_site("api_request", "/round")(target)


async def one_redirect(target: ToolTarget) -> Outcome:
    target.site.answers |= {"/moved": redirect(target.site.url("/fine")), "/fine": response(b"fine")}
    return await at_site("api_request", "/moved")(target)


def headed(**headers: str) -> Deed:
    async def deed(target: ToolTarget) -> Outcome:
        told = {name.replace("_", "-"): value for name, value in headers.items()}
        target.site.answers["/fine"] = response(b"fine")
        return await at_site("api_request", "/fine", headers=told)(target)

    return deed


async def nothing_comes(target: ToolTarget) -> Outcome:
    """The site takes the request and is silent."""
    target.site.answers["/silent"] = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n<and then nothing>"
    arguments = {"url": target.site.url("/silent")}
    return await target.call("api_request", arguments, "operator", seconds=1)


fine = answered(response(b"fine"))
fine_page = answered(response(b"<title>T</title><p>Some words on a page.</p>", "text/html"), "web_scrape")
zipped = answered(response(gzip.compress(b"fine"), content_encoding="gzip"))
json = answered(response(b'{"id": 7}', "application/json"))

ADDRESSES = (
    ToolAttack("the metadata address in every spelling", metadata_in_every_spelling, ADDRESS, fine),
    ToolAttack("a private network", fetched("http://10.0.0.1/"), ADDRESS, fine),
    ToolAttack("loopback beside what is opened", named("127.0.0.2"), ADDRESS, named("127.0.0.1")),
    ToolAttack("a neighbour on the link", fetched("http://[fe80::1]/"), ADDRESS, fine),
    ToolAttack("a tunnel to an inner address", fetched("http://[2002:0a00:0001::1]/"), ADDRESS, fine),
    ToolAttack("a name that means inside", named("inward.example"), ADDRESS, named("site.example")),
    ToolAttack("a name that also means inside", named("mixed.example"), ADDRESS, named("site.example")),
    ToolAttack("a name that changes its meaning", rebinding, ADDRESS, named("site.example")),
    ToolAttack(
        "a name that nobody owns",
        named("nobody.example"),
        ("UNAVAILABLE", "HOST_UNREACHABLE"),
        named("site.example"),
    ),
    ToolAttack("a redirect inward", answered(redirect("http://169.254.169.254/")), ADDRESS, one_redirect),
    ToolAttack("a redirect to a file", answered(redirect("file:///etc/passwd")), URL, one_redirect),
    ToolAttack(
        "redirects without end",
        round_and_round,
        ("FAILED_PRECONDITION", "TOO_MANY_REDIRECTS"),
        one_redirect,
    ),
    ToolAttack("a page inside", call("web_scrape", "operator", url="http://10.0.0.1/"), ADDRESS, fine_page),
)

REQUESTS = (
    ToolAttack("another scheme", fetched("file:///etc/passwd"), URL, fine),
    ToolAttack("a port that is not open", fetched("http://127.0.0.1:22/"), URL, fine),
    ToolAttack("credentials that look like a host", fetched("http://site.example@10.0.0.1/"), URL, fine),
    ToolAttack("a host read in two ways", fetched("http://a.example\\@10.0.0.1/"), URL, fine),
    ToolAttack("a URL with a line break", fetched("http://127.0.0.1/a\r\nHost: x"), URL, fine),
    ToolAttack("headers that split the request", headers_that_split, HEADER, headed(x_note="a")),
    ToolAttack("another's Host header", headed(host="inside.example"), HEADER, headed(accept="text/plain")),
    ToolAttack("the word that opens metadata", headed(Metadata="true"), HEADER, headed(x_note="b")),
    ToolAttack("another's address claimed", headed(X_Forwarded_For="127.0.0.1"), HEADER, headed(x_note="c")),
)

ANSWERS = (
    ToolAttack("an answer larger than any", answered(response(bytes(RESPONSE_BYTES + 1))), LARGE, fine),
    ToolAttack(
        "a gzip bomb", answered(response(gzip.compress(bytes(2**26)), content_encoding="gzip")), LARGE, zipped
    ),
    ToolAttack("headers without end", answered(response(b"", x_long="x" * 60_000)), LARGE, fine),
    ToolAttack(
        "a compression not asked for",
        answered(response(b"x", content_encoding="br")),
        UNREADABLE,
        zipped,
    ),
    ToolAttack(
        "JSON that is no number", answered(response(b"[1e999]", "application/json")), UNREADABLE, json
    ),
    ToolAttack(
        "JSON of an answer without a bottom",
        answered(response(b"[" * 30_000, "application/json")),
        UNREADABLE,
        json,
    ),
    ToolAttack(
        "an answer that is no HTTP",
        answered(b"SSH-2.0-OpenSSH_9.2\r\n"),
        ("UNAVAILABLE", "HOST_UNREACHABLE"),
        fine,
    ),
    ToolAttack("an answer that never comes", nothing_comes, ("DEADLINE_EXCEEDED", "TOOL_TIMEOUT"), fine),
    ToolAttack(
        "a program for a page",
        answered(response(b"\x7fELF", "application/octet-stream"), "web_scrape"),
        UNREADABLE,
        fine_page,
    ),
)
