"""Runs migrations of the rollouts' table."""

from __future__ import annotations

from services.inference.rollouts.models import Record
from services.sql.migrations import run_migrations

run_migrations(Record.metadata)
