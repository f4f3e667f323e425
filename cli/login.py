"""`parley login`: keeps a login for later commands."""

from __future__ import annotations

import asyncio
import sys
from typing import Annotated

import typer

from cli.connection import Deployment
from cli.console import answers, errors
from cli.credentials import ADMINISTRATOR, SavedLogin
from cli.failures import CommandError, told
from parley_client.credentials import Login

PASSWORD_CHARACTERS = 1024


@told
def login(
    username: Annotated[str, typer.Option("--username", "-u", help="The user's name.")] = ADMINISTRATOR,
    password_stdin: Annotated[
        bool, typer.Option("--password-stdin", help="Read the password from standard input.")
    ] = False,
) -> None:
    """Log in, and keep the session for later commands. The password is never an argument."""
    deployment = Deployment.find()
    password = read_password(from_stdin=password_stdin)
    permitted = asyncio.run(_login(deployment, username, password))
    answers().print(f"Logged in to {deployment.address} as {username}.", markup=False)
    if not permitted:
        errors().print("Nothing is permitted yet: change a one-time password with `parley password`.")


def read_password(*, from_stdin: bool) -> str:
    """The password, from a pipe or from the keyboard without echo.

    Raises:
        CommandError: There is none.
    """
    if from_stdin:
        password = sys.stdin.readline(PASSWORD_CHARACTERS + 1).rstrip("\r\n")
    else:
        password = typer.prompt("Password", hide_input=True, err=True)
    if not password:
        raise CommandError("The password is empty.", "Type it, or pipe it to --password-stdin.")
    return password


async def _login(deployment: Deployment, username: str, password: str) -> bool:
    """Logs in and saves it; says whether the login permits anything."""
    saved = SavedLogin.of(deployment.home, deployment.address)
    async with deployment.client(anonymous=True) as client:
        saved.save(await client.login(username, password))
        client.credentials = Login(saved, client.refresh)
        return bool((await client.who_am_i()).permissions)
