"""What the body of a response is, and its text."""

from __future__ import annotations

import re
from email.message import Message

from services.tools.builtin.web.fetching import Incoming
from services.tools.web_errors import ContentUnreadable

# Encodings of the web (WHATWG Encoding); others of Python's take quadratic time, or are no encodings.
_ENCODING = re.compile(
    r"utf-?8|utf-16(?:le|be)?|us-ascii|ascii|latin-?1|iso-8859-\d{1,2}|windows-125\d|cp125\d|koi8-[ru]"
    r"|gb2312|gbk|gb18030|big5|shift[_-]jis|euc-(?:jp|kr)|windows-31j",
    re.IGNORECASE,
)
_NAMED_IN_PAGE = re.compile(
    rb"""<meta[^>]{0,200}?charset\s{0,8}=\s{0,8}["']?([A-Za-z0-9_-]{1,40})""", re.IGNORECASE
)
_LOOKED_AT_BYTES = 2048
_TEXTS = ("text/", "application/xml", "application/javascript", "application/x-www-form-urlencoded")


def media_type(response: Incoming) -> str:
    """The type of the body in lower case, or an empty text."""
    return response.header("content-type").partition(";")[0].strip().lower()


def is_json(media: str) -> bool:
    """Whether a body of this type is JSON."""
    return media == "application/json" or media.endswith("+json")


def is_text(media: str) -> bool:
    """Whether a body of this type, or of none, is text."""
    return not media or media.startswith(_TEXTS) or media.endswith("+xml") or is_json(media)


def is_page(media: str) -> bool:
    """Whether a body of this type is a page."""
    return media in ("text/html", "application/xhtml+xml")


def text_of(response: Incoming) -> str:
    """The body as text; what is no text in its encoding is replaced.

    Raises:
        ContentUnreadable: It is of a kind that is no text.
    """
    media = media_type(response)
    if not is_text(media):
        raise ContentUnreadable(response.target.host, media, f"{media[:64]} is no text")
    return response.body.decode(_encoding(response), "replace")


def _encoding(response: Incoming) -> str:
    header = Message()
    header["content-type"] = response.header("content-type")
    named = header.get_param("charset")
    if named is None and is_page(media_type(response)):
        found = _NAMED_IN_PAGE.search(response.body[:_LOOKED_AT_BYTES])
        named = found[1].decode("ascii") if found else None
    return named if isinstance(named, str) and _ENCODING.fullmatch(named) else "utf-8"
