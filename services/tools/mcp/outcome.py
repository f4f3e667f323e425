"""What an outside tool gives, as the catalogue gives it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal

from mcp_types import (
    AudioContent,
    CallToolResult,
    ContentBlock,
    EmbeddedResource,
    ImageContent,
    ResourceLink,
    TextContent,
    TextResourceContents,
)
from pydantic import Field

from services.tools.catalogue import ToolResult
from services.tools.errors import ToolFailed

MAX_TOLD_CHARACTERS = 1000

_BASE64_BYTES = 3 / 4


class Attachment(ToolResult):
    """Something beside the text, described and not carried along."""

    kind: Literal["image", "audio", "resource", "link"] = Field(description="What it is.")
    media_type: str | None = Field(None, description="Its media type, if it is told.")
    uri: str | None = Field(None, description="Where the server keeps it.")
    size_bytes: int | None = Field(None, description="Its size, if it is told.")
    text: str | None = Field(None, description="Its text, if it has one.")


class OutsideResult(ToolResult):
    """What a tool of an outside server gives."""

    text: str | None = Field(None, description="What it says.")
    structured: Any = Field(None, description="What it gives as JSON, of the server's own shape.")
    attachments: list[Attachment] | None = Field(None, description="Images, sounds and resources beside it.")


def outcome_of(tool: str, result: CallToolResult) -> OutsideResult:
    """The result as the catalogue gives it.

    Raises:
        ToolFailed: The server says that the tool failed.
    """
    text = "\n".join(block.text for block in result.content if isinstance(block, TextContent))
    if result.is_error:
        told = text if len(text) <= MAX_TOLD_CHARACTERS else f"{text[:MAX_TOLD_CHARACTERS]}…"
        raise ToolFailed(tool, told or f"{tool} failed and does not say at what.")
    attachments = list(_attachments(result.content))
    return OutsideResult(
        text=text or None, structured=result.structured_content, attachments=attachments or None
    )


def _attachments(content: Iterable[ContentBlock]) -> Iterable[Attachment]:
    for block in content:
        match block:
            case ImageContent() | AudioContent():
                yield Attachment(kind=block.type, media_type=block.mime_type, size_bytes=_size(block.data))
            case ResourceLink():
                yield Attachment(
                    kind="link", media_type=block.mime_type, uri=str(block.uri), size_bytes=block.size
                )
            case EmbeddedResource():
                held = block.resource
                text = held.text if isinstance(held, TextResourceContents) else None
                size = None if isinstance(held, TextResourceContents) else _size(held.blob)
                yield Attachment(
                    kind="resource", media_type=held.mime_type, uri=str(held.uri), text=text, size_bytes=size
                )


def _size(data: str) -> int:
    """Bytes that base64 text stands for."""
    return int(len(data.rstrip("=")) * _BASE64_BYTES)
