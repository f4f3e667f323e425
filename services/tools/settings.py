"""What the tools service is told: `PARLEY_TOOLS_*`."""

from __future__ import annotations

import os
from pathlib import Path

from pydantic import Field

from services.rpc.settings import ServiceSettings, settings_config


class ToolsSettings(ServiceSettings):
    """The tools service's settings."""

    model_config = settings_config("PARLEY_TOOLS_")

    auth_address: str = Field(description="host:port of the auth service, for the keys that verify tokens")
    workspace_path: Path = Field(description="folder that holds a workspace per tenant and user")
    workspace_template_path: Path | None = Field(
        None, description="folder that is copied into a fresh workspace; unset: it starts empty"
    )
    workers: int = Field(
        default_factory=lambda: min(8, max(2, os.cpu_count() or 2)),
        ge=1,
        le=256,
        description="processes for tools that block or compute; default: one per CPU, 2 to 8",
    )
    running_calls: int = Field(256, ge=1, le=100_000, description="tool calls that run at once")
    running_calls_per_caller: int = Field(16, ge=1, le=10_000, description="of one user at once")
    running_calls_per_stream: int = Field(16, ge=1, le=10_000, description="of one stream at once")
    waiting_calls_per_caller: int = Field(1024, ge=0, le=100_000, description="of one user that may wait")
    open_calls_per_stream: int = Field(
        1024, ge=1, le=100_000, description="of one stream that may run or wait"
    )
    total_calls_per_stream: int = Field(
        16_384, ge=1, le=1_000_000, description="of one stream over its whole life"
    )
    max_argument_bytes: int = Field(2**20, ge=2, le=8 * 2**20, description="arguments of one call")
