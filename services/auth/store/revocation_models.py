"""What the database holds of revocations."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from sqlalchemy import BigInteger, Integer, String
from sqlalchemy.orm import Mapped, mapped_column

from services.auth.store.models import ULID_LENGTH, Record

# SQLite numbers rows by itself only in a column of exactly the type INTEGER.
SEQUENCE_TYPE = BigInteger().with_variant(Integer, "sqlite")


class RevocationKind(StrEnum):
    """What a revocation names; the values are stored."""

    KEY = "KEY"
    SESSION = "SESSION"
    USER = "USER"
    TENANT = "TENANT"


class Revocation(Record):
    """Access tokens of a subject, issued until a time, are no longer good.

    It refers to nothing: a deleted user's tokens stay revoked.
    """

    __tablename__ = "revocations"
    # A pruned number is never given again, or a reader that saw it would miss its successor.
    __table_args__ = {"sqlite_autoincrement": True}  # noqa: RUF012 - read by SQLAlchemy

    # Grows in the order of the commits (RevocationRecords.add), so that a reader that has seen
    # one number has seen all smaller ones.
    sequence: Mapped[int] = mapped_column(SEQUENCE_TYPE, primary_key=True)
    kind: Mapped[str] = mapped_column(String(16))
    subject_id: Mapped[str] = mapped_column(String(ULID_LENGTH))
    revoke_time: Mapped[datetime] = mapped_column(index=True)
