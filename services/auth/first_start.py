"""The first start on an empty database: the default tenant, and an administrator."""

from __future__ import annotations

from pathlib import Path

import structlog
from sqlalchemy.exc import IntegrityError
from ulid import ULID

from services.auth.clock import Clock
from services.auth.errors import StartError
from services.auth.names import canonical
from services.auth.passwords import Passwords, one_time_password
from services.auth.private_files import replace
from services.auth.roles import ADMIN
from services.auth.store.models import Tenant, User, UserRole
from services.auth.store.tenants import TenantRecords
from services.auth.store.users import UserRecords
from services.sql.database import Database

TENANT_NAME = "default"
PASSWORD_FILE = "admin-password"  # noqa: S105 - a file's name  # pragma: allowlist secret

log = structlog.get_logger("parley.auth")


async def make_first_admin(database: Database, passwords: Passwords, data_path: Path, clock: Clock) -> None:
    """Make the administrator where there is no user yet.

    The random password is written to `admin-password`, before the user is
    stored: a crash between the two leaves a password for nobody, and the next
    start replaces it.

    Raises:
        StartError: The file cannot be written.
        DependencyUnavailable: The database does not answer.
    """
    async with database.reading() as session:
        if await UserRecords(session).count():
            return
    password = one_time_password()
    tenant, admin = _first_records(await passwords.hash(password), clock)
    path = data_path / PASSWORD_FILE
    try:
        async with database.writing() as session:
            await TenantRecords(session).add(tenant)
            await UserRecords(session).add(admin)
            _write(path, password)
    except IntegrityError:
        log.info("another replica made the administrator")
        return
    log.info("administrator made", user_id=admin.user_id, password_file=str(path))


def _first_records(password_hash: str, clock: Clock) -> tuple[Tenant, User]:
    now = clock()
    tenant = Tenant(tenant_id=str(ULID()), name=TENANT_NAME, root=True, create_time=now)
    user_id = str(ULID())
    admin = User(
        user_id=user_id,
        tenant_id=tenant.tenant_id,
        username=ADMIN,
        canonical_username=canonical(ADMIN),
        password_hash=password_hash,
        create_time=now,
        roles=[UserRole(user_id=user_id, role=ADMIN, tenant_id=tenant.tenant_id)],
    )
    return tenant, admin


def _write(path: Path, password: str) -> None:
    try:
        replace(path, f"{password}\n".encode())
    except OSError as error:
        raise StartError(f"the file {path} cannot be written: {error.strerror}") from error
