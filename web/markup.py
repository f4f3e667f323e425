"""Text from models and tools, as HTML that can do nothing but be read.

Models and tools may say anything, an attacker's words included. Markdown is
rendered here, with HTML switched off and without images (an image's address
could carry a conversation to another server), so that the browser is given
finished, harmless markup. The page's own sanitizer and its content security
policy stand behind this.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from html import escape

from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.token import Token
from markdown_it.utils import EnvType, OptionsDict
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import JsonLexer, get_lexer_by_name
from pygments.util import ClassNotFound

MAX_SHOWN_CHARACTERS = 20_000
"""Characters of arguments or of a result that a card shows."""

MAX_HIGHLIGHTED_CHARACTERS = 20_000
"""Characters of code that are coloured; colouring takes time for every picture."""

_SAFE_LINK = re.compile(r"^(https?://|mailto:)", re.IGNORECASE)
_FORMATTER = HtmlFormatter(nowrap=True)


def _coloured(code: str, language: str) -> str:
    """A block of code with its words marked by kind; escaped text where the language is not known."""
    if not language or len(code) > MAX_HIGHLIGHTED_CHARACTERS:
        return escape(code)
    try:
        lexer = get_lexer_by_name(language, stripnl=False)
    except ClassNotFound:
        return escape(code)
    return str(highlight(code, lexer, _FORMATTER))


class _Renderer(RendererHTML):
    """Blocks of code without a language class: the page would colour them a second time."""

    def fence(self, tokens: Sequence[Token], index: int, options: OptionsDict, _env: EnvType) -> str:
        """A block of code between fences."""
        token = tokens[index]
        language = token.info.split(maxsplit=1)[0] if token.info.strip() else ""
        return f'<pre class="p-code"><code>{_coloured(token.content, language)}</code></pre>\n'

    def link_open(self, tokens: Sequence[Token], index: int, options: OptionsDict, env: EnvType) -> str:
        """A link that opens beside the page and tells its target nothing."""
        tokens[index].attrSet("target", "_blank")
        tokens[index].attrSet("rel", "noopener noreferrer nofollow")
        return self.renderToken(tokens, index, options, env)


def _markdown() -> MarkdownIt:
    markdown = MarkdownIt("commonmark", {"html": False, "breaks": True}, renderer_cls=_Renderer)
    markdown.enable(["table", "strikethrough"]).disable(["image", "html_block", "html_inline"])
    markdown.validateLink = lambda url: bool(_SAFE_LINK.match(url))  # type: ignore[method-assign]
    return markdown


_MARKDOWN = _markdown()


def from_markdown(text: str) -> str:
    """What a model said, as HTML."""
    html: str = _MARKDOWN.render(text)
    return html.strip()


def from_text(text: str) -> str:
    """Plain text, as HTML, its line breaks kept by the style."""
    return f'<div class="p-plain">{escape(text)}</div>'


def from_json(text: str) -> str:
    """JSON text, indented and coloured; other text as it is. Shortened when it is very long."""
    shown = _indented(text)
    rest = len(shown) - MAX_SHOWN_CHARACTERS
    if rest > 0:
        shown = shown[:MAX_SHOWN_CHARACTERS]
    body = highlight(shown, JsonLexer(stripnl=False), _FORMATTER).rstrip("\n")
    more = f'<p class="p-more">{rest:,} more characters</p>' if rest > 0 else ""
    return f'<pre class="p-code"><code>{body}</code></pre>{more}'


def _indented(text: str) -> str:
    """JSON text with a line for each member; text that is no JSON unchanged."""
    try:
        return json.dumps(json.loads(text), indent=2, ensure_ascii=False)
    except (ValueError, RecursionError):
        return text
