"""`api_request`: a request to somebody's API."""

from __future__ import annotations

import json
import re
from typing import Annotated, Any, Literal
from urllib.parse import urlencode

import jiter
from pydantic import ConfigDict, Field, JsonValue, TypeAdapter, model_validator

from services.tools.builtin.web.contents import is_json, is_text, media_type, text_of
from services.tools.builtin.web.fetching import Fetcher, Headers, Incoming, Outgoing
from services.tools.builtin.web.urls import MAX_URL_CHARACTERS, Target, parse_url
from services.tools.catalogue import (
    Arguments,
    Category,
    Example,
    LoopCall,
    SafetyLevel,
    Tool,
    ToolResult,
    tool,
)
from services.tools.web_errors import ContentUnreadable, HeaderNotAllowed

MAX_BODY_CHARACTERS = 256 * 2**10
MAX_HEADER_CHARACTERS = 4096
MAX_TOLD_HEADERS = 40
MAX_TOLD_HEADER_CHARACTERS = 1000
MAX_OUTPUT_BYTES = 2**20

_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,64}")  # RFC 9110, 5.6.2
_HEADER_VALUE = re.compile(r"[\x20-\x7e\t]*")
# They frame the message, speak to proxies, or claim to come from somebody else.
_FORBIDDEN = frozenset(
    (
        *(
            "host",
            "content-length",
            "transfer-encoding",
            "connection",
            "keep-alive",
            "upgrade",
            "te",
            "trailer",
        ),
        *("expect", "accept-encoding", "http2-settings", "via", "forwarded", "x-real-ip", "true-client-ip"),
        *("metadata", "metadata-flavor"),
    )
)
_FORBIDDEN_BEGINNINGS = ("proxy-", "sec-", "x-forwarded-", "x-aws-ec2-metadata-", "x-parley-")

_FINITE = TypeAdapter(JsonValue, config=ConfigDict(allow_inf_nan=False))

Method = Literal["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]


class ApiRequestArguments(Arguments):
    """What `api_request` takes."""

    url: str = Field(
        min_length=1,
        max_length=MAX_URL_CHARACTERS,
        description="An http or https URL on the public internet, without credentials.",
        examples=["https://api.example.com/v1/items"],
    )
    method: Method = Field("GET", description="The HTTP method.")
    headers: dict[str, Annotated[str, Field(max_length=MAX_HEADER_CHARACTERS)]] = Field(
        default_factory=dict, max_length=32, description="Headers to send, for example Authorization."
    )
    params: dict[str, Annotated[str, Field(max_length=MAX_URL_CHARACTERS)]] = Field(
        default_factory=dict, max_length=64, description="Query parameters, added to those of the URL."
    )
    json_data: JsonValue = Field(None, description="A body, sent as JSON. Not together with data.")
    data: str | None = Field(
        None,
        max_length=MAX_BODY_CHARACTERS,
        description="A body, sent as it is, as text/plain unless the headers say otherwise.",
    )

    @model_validator(mode="after")
    def _one_body(self) -> ApiRequestArguments:
        if self.json_data is not None and self.data is not None:
            raise ValueError("json_data and data exclude each other")
        if self.method in ("GET", "HEAD", "OPTIONS") and (
            self.json_data is not None or self.data is not None
        ):
            raise ValueError(f"{self.method} has no body")
        return self


class ApiRequestResult(ToolResult):
    """What `api_request` gives."""

    status: int = Field(description="The HTTP status code; 400 and above mean that it went wrong.")
    url: str = Field(description="Where the response came from, after redirects.")
    headers: dict[str, str] = Field(description="The response's headers, long ones cut.")
    json_data: JsonValue = Field(None, description="The body, where it is JSON.")
    text: str | None = Field(None, description="The body, where it is other text.")
    body_bytes: int = Field(description="Size of the body, decompressed, in bytes.")


EXAMPLE = Example(
    "Ask an API for an item",
    {"url": "https://api.example.com/v1/items/7", "headers": {"accept": "application/json"}},
    {
        "status": 200,
        "url": "https://api.example.com/v1/items/7",
        "headers": {"content-type": "application/json"},
        "json_data": {"id": 7, "name": "lamp"},
        "body_bytes": 22,
    },
    varies=True,
)


def api_tool(fetcher: Fetcher) -> Tool:
    """The tool, sending by this fetcher."""

    @tool(
        category=Category.WEB,
        safety=SafetyLevel.DANGEROUS,
        timeout_seconds=30,
        max_output_bytes=MAX_OUTPUT_BYTES,
        idempotent=False,
        examples=(EXAMPLE,),
    )
    async def api_request(arguments: ApiRequestArguments, _call: LoopCall) -> ApiRequestResult:
        """Sends an HTTP request to an API on the public internet and gives the response, JSON as JSON."""
        return read_response(await fetcher.fetch(build_request(arguments)))

    return api_request


def build_request(arguments: ApiRequestArguments) -> Outgoing:
    """The request that the arguments ask for.

    Raises:
        UrlInvalid: The URL is none that tools may use.
        HeaderNotAllowed: A header is one that tools may not set.
    """
    headers = check_headers(arguments.headers)
    body, kind = b"", ""
    if arguments.json_data is not None:
        body, kind = json.dumps(arguments.json_data).encode(), "application/json"
    elif arguments.data is not None:
        body, kind = arguments.data.encode(), "text/plain; charset=utf-8"
    if kind and all(name != "content-type" for name, _ in headers):
        headers = (*headers, ("content-type", kind))
    return Outgoing(arguments.method, _target(arguments), headers, body)


def _target(arguments: ApiRequestArguments) -> Target:
    url = arguments.url.partition("#")[0]
    if arguments.params:
        url += ("&" if "?" in url else "?") + urlencode(arguments.params)
    return parse_url(url)


def check_headers(headers: dict[str, str]) -> Headers:
    """The headers, names in lower case.

    Raises:
        HeaderNotAllowed: One is no header, or one that tools may not set.
    """
    checked = []
    for name, value in headers.items():
        lower = name.lower()
        forbidden = lower in _FORBIDDEN or lower.startswith(_FORBIDDEN_BEGINNINGS)
        if forbidden or not _HEADER_NAME.fullmatch(name) or not _HEADER_VALUE.fullmatch(value):
            raise HeaderNotAllowed(name)
        checked.append((lower, value.strip()))
    return tuple(checked)


def read_response(response: Incoming) -> ApiRequestResult:
    """What the tool gives for a response.

    Raises:
        ContentUnreadable: It says that it is JSON and is not.
    """
    media = media_type(response)
    told: dict[str, Any] = {}
    if response.body and is_json(media):
        told["json_data"] = _parsed(response, media)
    elif response.body and is_text(media):
        told["text"] = text_of(response)
    headers = {
        name: value[:MAX_TOLD_HEADER_CHARACTERS] for name, value in response.headers[:MAX_TOLD_HEADERS]
    }
    return ApiRequestResult(
        status=response.status,
        url=str(response.target),
        headers=headers,
        body_bytes=len(response.body),
        **told,
    )


def _parsed(response: Incoming, media: str) -> Any:
    try:
        value = jiter.from_json(response.body, allow_inf_nan=False)
        _FINITE.validate_python(value)  # 1e999 is valid JSON and no number
    except ValueError:
        raise ContentUnreadable(response.target.host, media, "it is no JSON, although it says so") from None
    return value
