"""Runs migrations of the auth service's tables."""

from __future__ import annotations

# Imported to put their tables into the metadata.
from services.auth.store import (  # noqa: F401
    audit_models,
    external_models,
    quota_models,
    revocation_models,
    usage_models,
)
from services.auth.store.models import Record
from services.sql.migrations import run_migrations

run_migrations(Record.metadata)
