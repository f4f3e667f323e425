"""What the tools service is told: `PARLEY_TOOLS_*`."""

from __future__ import annotations

import os
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Annotated, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    StringConstraints,
    field_validator,
    model_validator,
)

from services.rpc.settings import ServiceSettings, settings_config

ServerName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([a-z0-9-]{0,18}[a-z0-9])?$")]
PlainName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_-]{0,31}$")]
SourceName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,31}$")]


class DatabaseSource(BaseModel):
    """A SQL source that tools may use."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    url: SecretStr = Field(description="sqlite:///path, or postgresql://user:password@host/database")
    writable: bool = Field(False, description="whether db_execute may change it")
    description: str = Field("", max_length=500, description="what is in it, for models and people")

    @field_validator("url")
    @classmethod
    def _kind_is_known(cls, url: SecretStr) -> SecretStr:
        if not url.get_secret_value().startswith(("sqlite:///", "postgresql://", "postgres://")):
            raise ValueError("the URL begins neither with sqlite:/// nor with postgresql://")
        return url


class McpCommand(BaseModel):
    """A program that may be started as an MCP server."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    argv: list[str] = Field(min_length=1, max_length=64, description="the program's absolute path, arguments")
    environment: dict[str, SecretStr] = Field(
        default_factory=dict, max_length=64, description="all environment variables that it gets"
    )
    folder: Path = Field(Path("/"), description="where it runs")

    @field_validator("argv")
    @classmethod
    def _path_is_absolute(cls, argv: list[str]) -> list[str]:
        if not Path(argv[0]).is_absolute():
            raise ValueError("the program is not named by an absolute path")
        return argv


class McpSecret(BaseModel):
    """A bearer token for one MCP server."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    path: Path = Field(description="the file that holds it")
    url: str = Field(max_length=2048, description="the only server that it is sent to; scheme, host and port")


class McpServerSetting(BaseModel):
    """An MCP server whose tools are everybody's: a command's name, or a URL."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    command: str = Field("", description="a name from mcp_commands")
    url: str = Field("", max_length=2048, description="http or https, wherever the operator likes")
    secret_name: str = Field("", description="a name from mcp_secrets, for a URL")
    lowest_safety_level: Literal["safe", "restricted", "dangerous"] = "restricted"
    timeout_seconds: float = Field(60, gt=0, le=3600)
    max_output_bytes: int = Field(64 * 2**10, ge=1, le=2**20)

    @model_validator(mode="after")
    def _one_way(self) -> McpServerSetting:
        if bool(self.command) == bool(self.url):
            raise ValueError("name either a command or a url")
        return self


class ToolsSettings(ServiceSettings):
    """The tools service's settings."""

    model_config = settings_config("PARLEY_TOOLS_")

    auth_address: str = Field(description="host:port of the auth service, for the keys that verify tokens")
    store_url: SecretStr = Field(
        SecretStr(""),
        description="redis:// URL of the store that counts usage; empty: direct calls go uncounted; a secret",
    )
    inference_address: str = Field(
        "",
        description="host:port of inference, ipv4:host:port,host:port of its replicas, or file:PATH of a file"
        " that has one a line and is followed, for llm_chat; empty: llm_chat is off",
    )
    inference_pools: dict[str, str] = Field(
        default_factory=dict,
        description='the same of further models, as JSON: {"qwen3-8b": "host:port"}; other names are asked at'
        " inference_address",
    )
    workspace_path: Path = Field(description="folder that holds a workspace per tenant and user")
    workspace_template_path: Path | None = Field(
        None, description="folder that is copied into a fresh workspace; unset: it starts empty"
    )
    workspace_max_bytes: int = Field(
        256 * 2**20, ge=2**20, le=2**40, description="all files of one user, those of conversations included"
    )
    workspace_max_entries: int = Field(
        10_000, ge=10, le=1_000_000, description="files and folders of one user"
    )
    sandbox: Literal["auto", "bubblewrap", "landlock", "off"] = Field(
        "auto", description="what shuts programs in; auto: the first that works, bubblewrap or else Landlock"
    )
    sandbox_programs: int = Field(16, ge=1, le=1000, description="programs that run at once in the sandbox")
    sandbox_memory_bytes: int = Field(
        768 * 2**20, ge=64 * 2**20, le=2**40, description="memory that one program may take"
    )
    sandbox_python_path: Path | None = Field(
        None, description="Python that runs programs; unset: the one that runs the service"
    )
    shown_variables: list[str] = Field(
        [],
        max_length=100,
        description="names of environment variables that env_get shows, as a JSON list; none that looks"
        " like a secret is shown",
    )
    workers: int = Field(
        default_factory=lambda: min(8, max(2, os.cpu_count() or 2)),
        ge=1,
        le=256,
        description="processes for tools that block or compute; default: one per CPU, 2 to 8",
    )
    worker_fence: Literal["auto", "landlock", "off"] = Field(
        "auto",
        description="what keeps those processes from the rest of the machine; auto: Landlock if it works",
    )
    worker_readable_paths: list[Path] = Field(
        [],
        description="what tools of plug-ins may read there beside their own code, as a JSON list of paths",
    )
    running_calls: int = Field(256, ge=1, le=100_000, description="tool calls that run at once")
    running_calls_per_caller: int = Field(16, ge=1, le=10_000, description="of one user at once")
    running_calls_per_stream: int = Field(16, ge=1, le=10_000, description="of one stream at once")
    waiting_calls_per_caller: int = Field(1024, ge=0, le=100_000, description="of one user that may wait")
    nested_chats: int = Field(64, ge=1, le=10_000, description="questions of llm_chat at once")
    nested_chats_per_caller: int = Field(4, ge=1, le=1000, description="of one user at once")
    open_calls_per_stream: int = Field(
        1024, ge=1, le=100_000, description="of one stream that may run or wait"
    )
    total_calls_per_stream: int = Field(
        16_384, ge=1, le=1_000_000, description="of one stream over its whole life"
    )
    max_argument_bytes: int = Field(2**20, ge=2, le=8 * 2**20, description="arguments of one call")
    web_ports: list[int] = Field([80, 443], description="ports that web tools may dial, as a JSON list")
    web_open_networks: list[IPv4Network | IPv6Network] = Field(
        [], description="networks that web tools may reach although they are not public, as a JSON list"
    )
    web_authority_path: Path | None = Field(
        None, description="PEM certificates of authorities that web tools trust beside the machine's"
    )
    web_max_redirects: int = Field(5, ge=0, le=20, description="redirects that web tools follow")
    web_max_response_bytes: int = Field(
        2 * 2**20, ge=2**10, le=16 * 2**20, description="body of one response, before and after decompression"
    )
    search_url: str = Field("", description="base URL of a SearXNG for web_search; empty: web_search is off")
    database_sources: dict[SourceName, DatabaseSource] = Field(
        default_factory=dict,
        description='SQL sources by name, as JSON: {"shop": {"url": "sqlite:///…", "writable": false}}',
    )
    database_seconds: float = Field(10, gt=0, le=300, description="time that one statement may take")
    database_max_rows: int = Field(1000, ge=1, le=100_000, description="rows that one statement may give")
    database_max_changed_rows: int = Field(
        1000, ge=1, le=1_000_000, description="rows that one statement may change"
    )
    database_connections: int = Field(4, ge=1, le=100, description="connections to one PostgreSQL source")
    mcp_servers: dict[ServerName, McpServerSetting] = Field(
        default_factory=dict,
        description='MCP servers for everybody, as JSON: {"files": {"command": "files"}, "wiki": {"url": …}}',
    )
    mcp_commands: dict[PlainName, McpCommand] = Field(
        default_factory=dict,
        description="programs that may be started as MCP servers, by name, as JSON:"
        ' {"files": {"argv": ["/usr/bin/…"], "environment": {"KEY": "…"}}}',
    )
    mcp_secrets: dict[PlainName, McpSecret] = Field(
        default_factory=dict,
        description='bearer tokens for MCP servers, by name, as JSON: {"wiki": {"path": …, "url": …}}',
    )
    mcp_open_networks: list[IPv4Network | IPv6Network] = Field(
        [], description="networks that added MCP servers may be in although they are not public"
    )
    mcp_ports: list[int] = Field([80, 443], description="ports of added MCP servers, as a JSON list")
    mcp_state_path: Path | None = Field(
        None, description="file that keeps added MCP servers; unset: beneath workspace_path"
    )
    mcp_max_servers: int = Field(16, ge=0, le=1000, description="MCP servers that one tenant may add")
    mcp_max_tools: int = Field(128, ge=1, le=1000, description="tools of one MCP server; more are left out")
    mcp_memory_bytes: int = Field(
        2 * 2**30, ge=64 * 2**20, le=2**40, description="data that one MCP program may hold in memory"
    )
    replay_seconds: float = Field(
        600, ge=1, le=86_400, description="time that the result of a call with an idempotency key is kept"
    )
    replay_bytes: int = Field(64 * 2**20, ge=0, le=2**34, description="results that are kept, of all callers")
    replay_bytes_per_caller: int = Field(4 * 2**20, ge=0, le=2**30, description="of one user")

    @model_validator(mode="after")
    def _mcp_servers_are_reachable(self) -> ToolsSettings:
        for name, server in self.mcp_servers.items():
            if server.command and server.command not in self.mcp_commands:
                raise ValueError(f"mcp_servers: {name} names a command that mcp_commands does not have")
            if server.secret_name and server.secret_name not in self.mcp_secrets:
                raise ValueError(f"mcp_servers: {name} names a secret that mcp_secrets does not have")
        return self
