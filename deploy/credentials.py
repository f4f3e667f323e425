"""Makes the secrets that deploy/compose.yaml mounts: identities, passwords, and the URLs that hold them.

Usage: python -m deploy.credentials [--folder FOLDER] [--host NAME]...

What is there already stays, so that it may be run again; delete a file to have it made anew, and an identity
with both of its files. Containers run as a user of their own and read single files that are mounted, so
everybody may read the files, and nobody but its owner may enter their folder.
"""

from __future__ import annotations

import argparse
import secrets
import sys
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from deploy.certificates import LOOPBACK, CertificateAuthority

FOLDER = Path(__file__).parent / "secrets"
IDENTITIES = ("edge", "inference", "tools", "auth", "web", "store", "cache", "database")
USER = "parley"
AUTHORITY_FILE = "authority.pem"
STORE_RIGHTS = "~* &* +@all -@dangerous"
"""All keys and channels, and no command that would reconfigure, empty or copy the store."""


def main(arguments: list[str] | None = None) -> int:
    """Run the command line and return its exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where they lie")
    parser.add_argument("--host", action="append", default=[], help="a name or address that people use")
    options = parser.parse_args(arguments)
    try:
        made = make(options.folder, tuple(options.host))
    except (OSError, ValueError) as error:
        print(f"the secrets cannot be made: {error}", file=sys.stderr)
        return 1
    print(f"{options.folder}: {made} files made")
    return 0


def make(folder: Path, hosts: tuple[str, ...] = ()) -> int:
    """Make what is missing and return how many files that were.

    Raises:
        OSError: A file cannot be read or written.
        ValueError: The folder's authority is none.
    """
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)
    authority = CertificateAuthority.open(folder / "mesh")
    files: dict[str, Callable[[], str]] = {AUTHORITY_FILE: authority.certificate_path.read_text}
    for name in IDENTITIES:
        files |= _identity(authority, name, (*LOOPBACK, name, *(hosts if name == "edge" else ())))
    files |= {name: partial(str, text) for name, text in _passwords(folder).items()}
    return sum(_write_missing(folder / name, content) for name, content in files.items())


def _identity(
    authority: CertificateAuthority, name: str, hosts: tuple[str, ...]
) -> Mapping[str, Callable[[], str]]:
    """The two files of an identity; the first that is missing issues it."""

    def issue() -> str:
        return authority.issue(name, hosts).certificate.read_text()

    return {
        f"{name}-certificate.pem": issue,
        f"{name}-private-key.pem": lambda: authority.identity(name).private_key.read_text(),
    }


def _passwords(folder: Path) -> Mapping[str, str]:
    """What holds a password; each is told by the file that its server reads."""
    store, cache = (_password(folder / f"{name}-users.acl") for name in ("store", "cache"))
    database = _password(folder / "database-password")
    trust = f"?ssl_ca_certs=/run/secrets/{AUTHORITY_FILE}"
    return {
        "store-users.acl": f"user default off\nuser {USER} on >{store} {STORE_RIGHTS}\n",
        "cache-users.acl": f"user default off\nuser {USER} on >{cache} {STORE_RIGHTS}\n",
        "database-password": database,
        "grafana-password": _password(folder / "grafana-password"),
        "embedded-store-url": f"redis://{USER}:{store}@store:6379/0",
        "embedded-cache-url": f"redis://{USER}:{cache}@cache:6379/0",
        "production-store-url": f"rediss://{USER}:{store}@store:6379/0{trust}",
        "production-cache-url": f"rediss://{USER}:{cache}@cache:6379/0{trust}",
        "production-database-url": (
            f"postgresql+asyncpg://{USER}:{database}@database:5432/parley?ssl=verify-full"
        ),
    }


def _password(file: Path) -> str:
    """The password in a server's file, or a new one."""
    if not file.exists():
        return secrets.token_urlsafe(32)
    text = file.read_text()
    return text.partition(" on >")[2].partition(" ")[0] if " on >" in text else text


def _write_missing(file: Path, content: Callable[[], str]) -> bool:
    """Write a file that is not there, and say whether it was written."""
    if file.exists():
        return False
    file.write_text(content())
    file.chmod(0o644)
    return True


if __name__ == "__main__":
    sys.exit(main())
