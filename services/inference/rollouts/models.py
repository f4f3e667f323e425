"""What the database holds of rollouts."""

from __future__ import annotations

from sqlalchemy import LargeBinary, MetaData, String
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from services.sql.columns import NAMES

ULID_LENGTH = 26
NAME_LENGTH = 64


class Record(DeclarativeBase):
    """A row."""

    metadata = MetaData(naming_convention=NAMES)
    type_annotation_map = {bytes: LargeBinary}  # noqa: RUF012 - read by SQLAlchemy


class StoredRollout(Record):
    """The rollout of an alias.

    Attributes:
        change_id: A ULID of its last change: whoever read another one reads it again.
        body: The `parley.inference.v1.Rollout`.
    """

    __tablename__ = "rollouts"

    tenant_id: Mapped[str] = mapped_column(String(ULID_LENGTH), primary_key=True)
    name: Mapped[str] = mapped_column(String(NAME_LENGTH), primary_key=True)
    change_id: Mapped[str] = mapped_column(String(ULID_LENGTH))
    body: Mapped[bytes]
