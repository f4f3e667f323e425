"""What the database holds of the audit."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import BigInteger, Index, Integer, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from services.auth.store.models import Record

CHAIN = 1
ID_LENGTH = 64


class AuditChainHead(Record):
    """The one row that says where the chain ends. Who appends holds its lock.

    It belongs to no tenant: all of them share the chain.
    """

    __tablename__ = "audit_chain"

    id: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    # Random; begins the first record's hash, so that no part of another chain fits in.
    chain_id: Mapped[str] = mapped_column(String(32))
    sequence: Mapped[int] = mapped_column(BigInteger)
    hash: Mapped[bytes]
    # Records up to here may be deleted; the triggers let no others go.
    pruned_sequence: Mapped[int] = mapped_column(BigInteger)


class AuditRow(Record):
    """A record. The body is what the hash covers; the columns before it only help to find it."""

    __tablename__ = "audit_records"
    __table_args__ = (
        Index(None, "tenant_id", "sequence"),
        Index(None, "user_id", "sequence"),
        Index(None, "key_id", "sequence"),
    )

    sequence: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    event_id: Mapped[str] = mapped_column(String(26), unique=True)
    event_time: Mapped[datetime] = mapped_column(index=True)
    tenant_id: Mapped[str] = mapped_column(String(ID_LENGTH))
    user_id: Mapped[str] = mapped_column(String(ID_LENGTH))
    key_id: Mapped[str] = mapped_column(String(ID_LENGTH))
    request_id: Mapped[str] = mapped_column(String(ID_LENGTH), index=True)
    method: Mapped[str] = mapped_column(String(256))
    decision: Mapped[int] = mapped_column(Integer)
    body: Mapped[str] = mapped_column(Text)
    previous_hash: Mapped[bytes]
    hash: Mapped[bytes]
