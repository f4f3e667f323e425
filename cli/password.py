"""`parley password`: changes one's own password."""

from __future__ import annotations

import asyncio
import sys
from typing import Annotated

import typer

from cli.connection import Deployment
from cli.console import answers
from cli.credentials import SavedLogin
from cli.failures import CommandError, ExitCode, told
from parley_client.credentials import Login

PASSWORD_CHARACTERS = 1024


@told
def password(
    from_stdin: Annotated[
        bool,
        typer.Option(
            "--stdin", help="Read the present and the new password, a line each, from standard input."
        ),
    ] = False,
) -> None:
    """Change your password, and end your other sessions. Passwords are never arguments."""
    deployment = Deployment.find()
    saved = SavedLogin.of(deployment.home, deployment.address)
    if not saved.exists():
        message = f"Nobody is logged in at {deployment.address}."
        raise CommandError(message, "Run `parley login`.", ExitCode.NOT_ALLOWED)
    current, new = _piped() if from_stdin else _typed()
    asyncio.run(_change(deployment, saved, current, new))
    answers().print("Password changed.")


def _piped() -> tuple[str, str]:
    current, new = (sys.stdin.readline(PASSWORD_CHARACTERS + 1).rstrip("\r\n") for _ in range(2))
    return current, new


def _typed() -> tuple[str, str]:
    current = typer.prompt("Present password", hide_input=True, err=True)
    new = typer.prompt("New password", hide_input=True, confirmation_prompt=True, err=True)
    return str(current), str(new)


async def _change(deployment: Deployment, saved: SavedLogin, current: str, new: str) -> None:
    async with deployment.client(anonymous=True) as client:
        client.credentials = Login(saved, client.refresh)
        await client.administration.change_password(current, new)
        # A session begun with a one-time password gets its rights by this.
        async with saved.locked():
            saved.save(await client.refresh(saved.load().refresh_token))
