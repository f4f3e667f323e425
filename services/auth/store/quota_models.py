"""What the database holds of quotas."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import BigInteger, ForeignKey, String
from sqlalchemy.orm import Mapped, mapped_column

from services.auth.store.models import Record

KIND_LENGTH = 16
SUBJECT_LENGTH = 256


class Quota(Record):
    """What a subject of a tenant may use; a limit that is null is none.

    The subject is kept by kind and name, not by reference: a quota may be set
    for a model that is not served yet, and outlives a role that is made anew.
    """

    __tablename__ = "quotas"

    tenant_id: Mapped[str] = mapped_column(ForeignKey("tenants.tenant_id"), primary_key=True)
    kind: Mapped[str] = mapped_column(String(KIND_LENGTH), primary_key=True)
    name: Mapped[str] = mapped_column(String(SUBJECT_LENGTH), primary_key=True)
    requests_per_minute: Mapped[int | None] = mapped_column(BigInteger)
    tokens_per_minute: Mapped[int | None] = mapped_column(BigInteger)
    concurrent_streams: Mapped[int | None] = mapped_column(BigInteger)
    tokens_per_day: Mapped[int | None] = mapped_column(BigInteger)
    tokens_per_month: Mapped[int | None] = mapped_column(BigInteger)
    cost_micros_per_day: Mapped[int | None] = mapped_column(BigInteger)
    cost_micros_per_month: Mapped[int | None] = mapped_column(BigInteger)
    prompt_nanos: Mapped[int | None] = mapped_column(BigInteger)
    completion_nanos: Mapped[int | None] = mapped_column(BigInteger)
    update_time: Mapped[datetime]
