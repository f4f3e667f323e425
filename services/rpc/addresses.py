"""Where a service's replicas are: fixed, or in a file that whoever starts and ends them replaces."""

from __future__ import annotations

from pathlib import Path

FILE = "file:"
"""`file:PATH` stands for the addresses in a file, one `host:port` a line."""

MOST_BYTES = 64 * 2**10


class Addresses:
    """An address as settings give it: what gRPC takes for a target, or `file:PATH`."""

    def __init__(self, address: str) -> None:
        """Read nothing yet."""
        self._address = address
        self._path = Path(address.removeprefix(FILE)) if address.startswith(FILE) else None

    def all(self) -> tuple[str, ...]:
        """Each address, as it is now.

        Raises:
            OSError: The file cannot be read, is too long, or names none.
        """
        if self._path is None:
            return (self._address,)
        with self._path.open("rb") as file:
            text = file.read(MOST_BYTES + 1)
        found = tuple(text.decode(errors="replace").split())
        if not found or len(text) > MOST_BYTES:
            raise OSError(f"{self._path} must hold an address a line, in at most {MOST_BYTES} bytes")
        return found

    def target(self) -> str:
        """All of them as one target of gRPC, which spreads its calls over them.

        Raises:
            OSError: As `all` does.
        """
        found = self.all()
        return found[0] if len(found) == 1 else f"ipv4:{','.join(found)}"

    def version(self) -> tuple[int, ...]:
        """Changes whenever the file is replaced.

        Raises:
            OSError: It is missing.
        """
        if self._path is None:
            return ()
        status = self._path.stat()
        return status.st_ino, status.st_mtime_ns
