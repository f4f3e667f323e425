"""Runs migrations of the conversations' tables."""

from __future__ import annotations

from services.inference.conversations.models import Record
from services.sql.migrations import run_migrations

run_migrations(Record.metadata)
