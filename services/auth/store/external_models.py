"""What the database holds of users whom an outside issuer knows."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import ForeignKeyConstraint, String
from sqlalchemy.orm import Mapped, mapped_column

from services.auth.store.models import ULID_LENGTH, Record

ISSUER_LENGTH = 255
SUBJECT_LENGTH = 255


class ExternalIdentity(Record):
    """Who a user is to an outside issuer: the issuer and its subject, which together name one person."""

    __tablename__ = "external_identities"
    __table_args__ = (
        ForeignKeyConstraint(
            ["tenant_id", "user_id"], ["users.tenant_id", "users.user_id"], ondelete="CASCADE"
        ),
    )

    issuer: Mapped[str] = mapped_column(String(ISSUER_LENGTH), primary_key=True)
    subject: Mapped[str] = mapped_column(String(SUBJECT_LENGTH), primary_key=True)
    tenant_id: Mapped[str] = mapped_column(String(ULID_LENGTH))
    user_id: Mapped[str] = mapped_column(String(ULID_LENGTH))
    create_time: Mapped[datetime]
