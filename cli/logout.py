"""`parley logout`: ends the saved login."""

from __future__ import annotations

import asyncio

from cli.connection import Deployment
from cli.console import answers
from cli.credentials import SavedLogin
from cli.failures import CommandError, ExitCode, told
from parley_client.credentials import Login
from parley_client.errors import ParleyError


@told
def logout() -> None:
    """Log out: end the session everywhere, and forget it here."""
    deployment = Deployment.find()
    saved = SavedLogin.of(deployment.home, deployment.address)
    if not saved.exists():
        message = f"Nobody is logged in at {deployment.address}."
        raise CommandError(message, "", ExitCode.NOT_ALLOWED)
    try:
        asyncio.run(_logout(deployment, saved))
    finally:
        saved.forget()
    answers().print(f"Logged out of {deployment.address}.", markup=False)


async def _logout(deployment: Deployment, saved: SavedLogin) -> None:
    async with deployment.client(anonymous=True) as client:
        client.credentials = Login(saved, client.refresh)
        try:
            await client.logout()
        except ParleyError as error:
            # Over already, which is what was wanted.
            if error.reason not in ("REFRESH_TOKEN_INVALID", "TOKEN_EXPIRED", "TOKEN_REVOKED"):
                raise
