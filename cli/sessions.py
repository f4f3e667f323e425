"""`parley sessions`: logins that go on."""

from __future__ import annotations

from typing import Annotated

import typer

from cli.connection import call
from cli.console import answers, print_json, print_table
from cli.failures import told
from cli.messages import Json, day, fields, minute
from cli.users import user_id
from parley.auth.v1 import session_service_pb2 as pb2
from parley_client.caller import pages
from parley_client.client import Client

app = typer.Typer(help="Logins that go on.", no_args_is_help=True)

Whose = Annotated[str, typer.Option("--user", help="Whose, by name or id. Default: yours.")]


@app.command("list")
@told
def list_sessions(whose: Whose = "", as_json: Json = False) -> None:
    """List sessions, newest first."""

    async def find(client: Client) -> list[pb2.Session]:
        wanted = pb2.ListSessionsRequest(user_id=await user_id(client, whose))

        async def page(token: str) -> pb2.ListSessionsResponse:
            wanted.page_token = token
            return await client.administration.list_sessions(wanted)

        return [session async for answer in pages(page) for session in answer.sessions]

    sessions = call(find)
    if as_json:
        print_json([fields(session) for session in sessions])
    else:
        columns = ["id", "from", "begun", "last used", "ends", "this one"]
        print_table(columns, (_row(session) for session in sessions))


@app.command()
@told
def end(session_id: Annotated[str, typer.Argument(help="The session's id, as `list` shows it.")]) -> None:
    """End a session and its tokens, within a second."""
    call(lambda client: client.administration.end_session(session_id))
    answers().print(f"Session {session_id} has ended.", markup=False)


@app.command("end-all")
@told
def end_all(whose: Whose = "") -> None:
    """End every session of yours, or of a user."""

    async def ended(client: Client) -> int:
        return await client.administration.end_sessions(await user_id(client, whose))

    answers().print(f"Sessions ended: {call(ended)}.", markup=False)


def _row(session: pb2.Session) -> list[str]:
    times = [minute(session, "create_time"), minute(session, "last_use_time"), day(session, "expire_time")]
    return [session.session_id, session.address, *times, "yes" if session.current else ""]
