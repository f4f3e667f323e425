"""The SQL sources that the operator named, and who may use them."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from services.rpc.principal import Principal
from services.tools.builtin.database.postgresql import PostgresqlSource
from services.tools.builtin.database.sqlite import SqliteSource
from services.tools.builtin.database.statements import Limits, Source
from services.tools.database_errors import SourceUnknown, StatementNotAllowed
from services.tools.settings import DatabaseSource, ToolsSettings

PERMISSION = "tools.database.sources."


@dataclass(frozen=True)
class NamedSource:
    """A source as callers see it.

    Attributes:
        name: Its name.
        source: Runs its statements.
        writable: Whether `db_execute` may change it.
        description: What is in it.
    """

    name: str
    source: Source
    writable: bool = False
    description: str = ""

    @property
    def permission(self) -> str:
        """What a caller's token must hold, beside the tool's own permission."""
        return f"{PERMISSION}{self.name}"

    def require_writable(self) -> None:
        """Refuse to change a source that only may be read.

        Raises:
            StatementNotAllowed: It may.
        """
        if not self.writable:
            raise StatementNotAllowed(self.name, f"{self.name} may only be read")


class Sources:
    """The sources by name."""

    def __init__(self, sources: Mapping[str, NamedSource]) -> None:
        """Hold these sources."""
        self._sources = dict(sorted(sources.items()))

    def __bool__(self) -> bool:
        return bool(self._sources)

    def permitted(self, principal: Principal) -> Iterator[NamedSource]:
        """Those that the caller may use, by name."""
        return (source for source in self._sources.values() if principal.may(source.permission))

    def find(self, name: str | None, principal: Principal) -> NamedSource:
        """The source of this name; without one the only source there is for this caller.

        Raises:
            SourceUnknown: There is none, or no name is given and there are several.
            PermissionMissing: The caller may not use it.
        """
        mine = {source.name: source for source in self.permitted(principal)}
        if name is None and len(mine) == 1:
            return next(iter(mine.values()))
        if name is None or name not in self._sources:
            nearest = difflib.get_close_matches(name or "", mine, n=1)
            raise SourceUnknown(name or "(none was named)", nearest[0] if nearest else "")
        found = self._sources[name]
        principal.require(found.permission)
        return found

    async def close(self) -> None:
        """Let go of every connection."""
        for entry in self._sources.values():
            await entry.source.close()


def sources_from(settings: ToolsSettings) -> Sources:
    """The sources of the settings."""
    limits = Limits(
        seconds=settings.database_seconds,
        rows=settings.database_max_rows,
        changed_rows=settings.database_max_changed_rows,
    )
    return Sources(
        {
            name: NamedSource(
                name,
                _source(name, entry, limits, settings.database_connections),
                entry.writable,
                entry.description,
            )
            for name, entry in settings.database_sources.items()
        }
    )


def _source(name: str, entry: DatabaseSource, limits: Limits, connections: int) -> Source:
    url = entry.url.get_secret_value()
    if (path := _sqlite_path(url)) is not None:
        return SqliteSource(name, path, limits)
    return PostgresqlSource(name, url, limits, connections=connections, writable=entry.writable)


def sqlite_paths(settings: ToolsSettings) -> Iterator[Path]:
    """The files of the settings' SQLite sources."""
    for entry in settings.database_sources.values():
        if (path := _sqlite_path(entry.url.get_secret_value())) is not None:
            yield path


def _sqlite_path(url: str) -> Path | None:
    """The file that a URL names; None where it is of another kind."""
    if not url.startswith("sqlite:"):
        return None
    # As SQLAlchemy has it: three slashes and a relative path, four and an absolute one.
    return Path(unquote(urlsplit(url).path)[1:])
