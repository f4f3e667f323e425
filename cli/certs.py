"""`parley certs`: the local stack's certificates."""

from __future__ import annotations

import os

import typer

from cli.console import answers
from cli.environment import command_settings
from cli.failures import told
from cli.home import Home
from cli.local.certificates import ends_at, issue_missing, open_authority, rotate
from deploy.certificates import CertificateAuthority

app = typer.Typer(help="The local stack's certificates.", no_args_is_help=True)


@app.command()
@told
def init() -> None:
    """Make the local authority and issue what is missing. Running it again changes nothing."""
    authority = _authority()
    _tell(authority, issue_missing(authority))


@app.command("rotate")
@told
def rotate_all() -> None:
    """Issue every certificate anew. Running processes take them up without a restart."""
    authority = _authority()
    _tell(authority, rotate(authority))


def _authority() -> CertificateAuthority:
    return open_authority(Home(command_settings(os.environ).home.absolute()))


def _tell(authority: CertificateAuthority, issued: list[str]) -> None:
    for name in issued:
        end = ends_at(authority.identity(name).certificate)
        answers().print(f"{name}: issued, good until {end:%Y-%m-%d}" if end else name, markup=False)
    if not issued:
        answers().print("Nothing to issue: every certificate is good for another month or more.")
    answers().print(f"Clients of the edge trust {authority.certificate_path}", markup=False)
