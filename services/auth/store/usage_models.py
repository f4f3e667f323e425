"""What the database holds of usage."""

from __future__ import annotations

import datetime

from sqlalchemy import BigInteger, Date, Index, String
from sqlalchemy.orm import Mapped, mapped_column

from services.auth.store.models import ULID_LENGTH, Record

MODEL_LENGTH = 256
AMOUNTS = (
    "requests",
    "prompt_tokens",
    "cached_prompt_tokens",
    "completion_tokens",
    "tool_calls",
    "cost_micros",
)


class UsageEntry(Record):
    """A record that was counted. It refers to nothing: what a deleted user used was used."""

    __tablename__ = "usage_records"

    record_id: Mapped[str] = mapped_column(String(ULID_LENGTH), primary_key=True)
    tenant_id: Mapped[str] = mapped_column(String(ULID_LENGTH))
    user_id: Mapped[str] = mapped_column(String(ULID_LENGTH))
    key_id: Mapped[str] = mapped_column(String(ULID_LENGTH))
    model: Mapped[str] = mapped_column(String(MODEL_LENGTH))
    end_time: Mapped[datetime.datetime] = mapped_column(index=True)
    requests: Mapped[int] = mapped_column(BigInteger)
    prompt_tokens: Mapped[int] = mapped_column(BigInteger)
    cached_prompt_tokens: Mapped[int] = mapped_column(BigInteger)
    completion_tokens: Mapped[int] = mapped_column(BigInteger)
    tool_calls: Mapped[int] = mapped_column(BigInteger)
    cost_micros: Mapped[int] = mapped_column(BigInteger)


class UsageDay(Record):
    """What one user used of one model with one key on one day, in UTC. Kept for ever."""

    __tablename__ = "usage_days"
    __table_args__ = (Index(None, "tenant_id", "user_id", "day"),)

    tenant_id: Mapped[str] = mapped_column(String(ULID_LENGTH), primary_key=True)
    day: Mapped[datetime.date] = mapped_column(Date, primary_key=True)
    user_id: Mapped[str] = mapped_column(String(ULID_LENGTH), primary_key=True)
    key_id: Mapped[str] = mapped_column(String(ULID_LENGTH), primary_key=True)
    model: Mapped[str] = mapped_column(String(MODEL_LENGTH), primary_key=True)
    requests: Mapped[int] = mapped_column(BigInteger)
    prompt_tokens: Mapped[int] = mapped_column(BigInteger)
    cached_prompt_tokens: Mapped[int] = mapped_column(BigInteger)
    completion_tokens: Mapped[int] = mapped_column(BigInteger)
    tool_calls: Mapped[int] = mapped_column(BigInteger)
    cost_micros: Mapped[int] = mapped_column(BigInteger)
