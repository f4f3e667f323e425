"""`parley conversations`: what was said, kept by the platform for its user."""

from __future__ import annotations

import sys
from enum import StrEnum
from typing import Annotated

import typer

from cli.connection import call
from cli.console import answers, print_json, print_table
from cli.failures import told
from cli.messages import Json, fields, minute
from parley.inference.v1 import conversation_pb2, message_pb2
from parley.inference.v1 import conversation_service_pb2 as pb2
from parley_client.caller import pages
from parley_client.client import Client

app = typer.Typer(help="Conversations that the platform keeps for you.", no_args_is_help=True)

Id = Annotated[str, typer.Argument(help="The conversation's id, as `list` shows it.")]
PAGE = 1000
FINDS = 100


class Format(StrEnum):
    """How an export is written."""

    JSON_LINES = "json-lines"
    MARKDOWN = "markdown"


@app.command("list")
@told
def list_conversations(
    title: Annotated[str, typer.Option(help="Only those whose title has this text.")] = "",
    as_json: Json = False,
) -> None:
    """List conversations, the one that was changed last first."""

    async def find(client: Client) -> list[conversation_pb2.Conversation]:
        async def page(token: str) -> pb2.ListConversationsResponse:
            request = pb2.ListConversationsRequest(title_contains=title, page_size=PAGE, page_token=token)
            return await client.conversations.list(request)

        return [each async for answer in pages(page) for each in answer.conversations]

    found = call(find)
    if as_json:
        print_json([fields(each) for each in found])
    else:
        print_table(["id", "title", "messages", "model", "changed"], (_row(each) for each in found))


@app.command()
@told
def show(conversation_id: Id, as_json: Json = False) -> None:
    """Show what was said in a conversation."""

    async def find(client: Client) -> list[conversation_pb2.StoredMessage]:
        async def page(token: str) -> pb2.ListMessagesResponse:
            request = pb2.ListMessagesRequest(
                conversation_id=conversation_id, page_size=PAGE, page_token=token
            )
            return await client.conversations.messages(request)

        return [each async for answer in pages(page) for each in answer.messages]

    found = call(find)
    if as_json:
        print_json([fields(each) for each in found])
        return
    for each in found:
        answers().print(f"{_speaker(each.message)} [{each.message_id}]", markup=False, style="bold")
        answers().print(_said(each.message), markup=False)


@app.command()
@told
def search(
    text: Annotated[str, typer.Argument(help="What was said, upper or lower case.")], as_json: Json = False
) -> None:
    """Find what was said, newest first; the first 100 places."""
    request = pb2.SearchMessagesRequest(query=text, page_size=FINDS)
    found = call(lambda client: client.conversations.search(request)).found
    if as_json:
        print_json([fields(each) for each in found])
    else:
        rows = ([each.conversation_id, each.title, " ".join(each.snippet.split())] for each in found)
        print_table(["conversation", "title", "said"], rows)


@app.command()
@told
def rename(
    conversation_id: Id, title: Annotated[str, typer.Argument(help="What it shall be called.")]
) -> None:
    """Give a conversation another title."""
    renamed = call(lambda client: client.conversations.rename(conversation_id, title))
    answers().print(f"Conversation {conversation_id} is called {renamed.title!r}.", markup=False)


@app.command()
@told
def branch(
    conversation_id: Id,
    message_id: Annotated[str, typer.Argument(help="The last message that both shall have.")],
) -> None:
    """Begin a conversation with what another one holds up to a message."""
    made = call(lambda client: client.conversations.branch(conversation_id, message_id))
    answers().print(made.conversation_id, markup=False)


@app.command()
@told
def delete(conversation_id: Id) -> None:
    """Delete a conversation with all that was said in it."""
    call(lambda client: client.conversations.delete(conversation_id))
    answers().print(f"Conversation {conversation_id} is deleted.", markup=False)


@app.command()
@told
def export(
    conversation_ids: Annotated[list[str] | None, typer.Argument(help="Which. Default: all.")] = None,
    form: Annotated[Format, typer.Option("--format", help="How it is written.")] = Format.JSON_LINES,
) -> None:
    """Write conversations to standard output."""
    value = pb2.ExportFormat.Value(f"EXPORT_FORMAT_{form.name}")
    request = pb2.ExportConversationsRequest(conversation_ids=conversation_ids or (), format=value)

    async def write(client: Client) -> None:
        async with client.conversations.export(request) as pieces:
            async for piece in pieces:
                sys.stdout.buffer.write(piece)
        sys.stdout.buffer.flush()

    call(write)


def _row(conversation: conversation_pb2.Conversation) -> list[object]:
    return [
        conversation.conversation_id,
        conversation.title,
        conversation.message_count,
        conversation.model,
        minute(conversation, "update_time"),
    ]


def _speaker(message: message_pb2.Message) -> str:
    return message_pb2.Role.Name(message.role).removeprefix("ROLE_").lower()


def _said(message: message_pb2.Message) -> str:
    calls = (f"→ {call.name} {call.arguments}" for call in message.tool_calls)
    return "\n".join([*filter(None, ["".join(part.text for part in message.content)]), *calls])
