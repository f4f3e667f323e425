from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from web.markup import MAX_HIGHLIGHTED_CHARACTERS, MAX_SHOWN_CHARACTERS, from_json, from_markdown, from_text

HARMLESS = {
    "p", "br", "em", "strong", "s", "code", "pre", "span", "div", "a", "ul", "ol", "li", "blockquote", "hr",
    "h1", "h2", "h3", "h4", "h5", "h6", "table", "thead", "tbody", "tr", "th", "td",
}  # fmt: skip
HARMLESS_ATTRIBUTES = {"class", "href", "title", "target", "rel", "start", "style"}


class Reader(HTMLParser):
    """Notes every element and attribute, as a browser would see them."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes += attrs

    def handle_data(self, data: str) -> None:
        self.text += data

    @property
    def harmless(self) -> bool:
        names = {name for name, _ in self.attributes}
        links = [value or "" for name, value in self.attributes if name == "href"]
        styles = {value for name, value in self.attributes if name == "style"}
        return (
            self.tags <= HARMLESS
            and names <= HARMLESS_ATTRIBUTES
            and styles <= {"text-align:left", "text-align:right", "text-align:center"}
            and all(re.match("(https?://|mailto:)", link, re.IGNORECASE) for link in links)
        )


ATTACKS = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "[x](javascript:alert(1))",
    "[x](data:text/html;base64,PHNjcmlwdD4=)",
    "[x](//evil.invalid)",
    "![x](https://evil.invalid/x.png)",
    '<https://a.invalid/" onclick=alert(1)>',
    '[x](https://a.invalid "t\\" onclick=\\"alert(1)")',
    "```html\n<script>alert(1)</script>\n```",
    '```"><script>alert(1)</script>\nx\n```',
    "`<script>`",
    "<details ontoggle=alert(1) open>",
    "<!--><script>alert(1)</script>-->",
    "[a]: javascript:alert(1)\n[a]",
    "&lt;script&gt;alert(1)&lt;/script&gt;",
]


@pytest.mark.parametrize("text", ATTACKS)
@pytest.mark.parametrize("render", [from_markdown, from_text, from_json])
def test_attacks_stay_text(text: str, render: object) -> None:
    assert callable(render)
    assert Reader(render(text)).harmless


@given(st.text(alphabet=st.sampled_from("<>\"'&`*_[]()!#|-~:/\\ \n\tajs123="), max_size=80))
def test_no_text_becomes_markup_that_acts(text: str) -> None:
    for render in (from_markdown, from_text, from_json):
        assert Reader(render(text)).harmless


@given(st.text(max_size=200))
def test_plain_text_is_shown_as_it_is(text: str) -> None:
    assert Reader(from_text(text)).text == text.replace("\r\n", "\n") or "\r" in text


def test_markdown_is_rendered() -> None:
    html = from_markdown("# A\n\n**b** `c`\n\n|x|\n|-|\n|1|\n\n- d")
    assert {"h1", "strong", "code", "table", "li"} <= Reader(html).tags


def test_links_open_beside_the_page_and_tell_nothing() -> None:
    attributes = dict(Reader(from_markdown("[x](https://a.invalid)")).attributes)
    assert attributes == {
        "href": "https://a.invalid",
        "target": "_blank",
        "rel": "noopener noreferrer nofollow",
    }


@pytest.mark.parametrize("language", ["python", "nosuchlanguage", ""])
def test_code_is_shown_whole(language: str) -> None:
    html = from_markdown(f"```{language}\ndef f(): return '<b>'\n```")
    assert "def f(): return '<b>'" in Reader(html).text


def test_very_long_code_is_not_coloured() -> None:
    html = from_markdown("```python\n" + "x = 1\n" * MAX_HIGHLIGHTED_CHARACTERS + "```")
    assert "span" not in Reader(html).tags


def test_json_is_indented() -> None:
    assert (
        Reader(from_json('{"a":9007199254740993,"b":"é"}')).text
        == '{\n  "a": 9007199254740993,\n  "b": "é"\n}'
    )


@pytest.mark.parametrize("text", ["{not json", "", "9" * 5000, "[" * 100_000])
def test_what_is_no_readable_json_is_shown_as_it_is(text: str) -> None:
    shown = Reader(from_json(text)).text
    assert shown.startswith(text[:MAX_SHOWN_CHARACTERS])


def test_very_long_json_is_shortened() -> None:
    html = from_json('"' + "x" * (MAX_SHOWN_CHARACTERS + 8) + '"')
    assert "10 more characters" in html
