"""The local stack's certificates: made when missing, renewed when about to end."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509

from cli.failures import CommandError, ExitCode
from cli.home import Home
from cli.local.stack import IDENTITIES, TRUST_DOMAIN
from deploy.certificates import CertificateAuthority

RENEW_AHEAD = timedelta(days=30)


def open_authority(home: Home) -> CertificateAuthority:
    """The home's authority, made if there is none.

    Raises:
        CommandError: What lies there cannot be used.
    """
    try:
        return CertificateAuthority.open(home.folder("certificates"), TRUST_DOMAIN)
    except (OSError, ValueError) as error:
        message = f"The local certificate authority cannot be used: {error}."
        remedy = f"Remove {home.path / 'certificates'} to have a new one made."
        raise CommandError(message, remedy, ExitCode.MACHINE) from None


def issue_missing(authority: CertificateAuthority) -> list[str]:
    """Issues what is missing or ends within `RENEW_AHEAD`, and names it."""
    issued = [name for name in IDENTITIES if _needs_issue(authority.identity(name).certificate)]
    for name in issued:
        authority.issue(name)
    return issued


def rotate(authority: CertificateAuthority) -> list[str]:
    """Issues every identity anew, each replaced in one step, and names them."""
    for name in IDENTITIES:
        authority.issue(name)
    return list(IDENTITIES)


def ends_at(certificate: Path) -> datetime | None:
    """When a certificate ends (UTC); None where there is none that can be read."""
    try:
        return x509.load_pem_x509_certificate(certificate.read_bytes()).not_valid_after_utc
    except (OSError, ValueError):
        return None


def _needs_issue(certificate: Path) -> bool:
    end = ends_at(certificate)
    return end is None or end - datetime.now(UTC) < RENEW_AHEAD
