"""Drains a running Envoy, which by itself drops its calls on SIGTERM.

Usage: python -m deploy.envoy.drain --admin ADDRESS [--seconds N]

ADDRESS is `PARLEY_EDGE_ADMIN_ADDRESS`: `unix:PATH` or a loopback `host:port`.
/healthz turns to 503, callers are told to open new connections elsewhere
(GOAWAY, `connection: close`), and running calls have N seconds to end. Send
SIGTERM after it returns. Exits 1 where calls were still running.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import socket
import sys
import time
from pathlib import Path
from typing import Any

from deploy.envoy.settings import UNIX, endpoint

ACTIVE_CALLS = "http.edge.downstream_rq_active"
POLL_SECONDS = 0.1
ANSWER_SECONDS = 5.0
LIVE = b"LIVE"


class Admin:
    """Envoy's admin interface."""

    def __init__(self, address: str) -> None:
        """Use the interface at `unix:PATH` or `host:port`."""
        self._address = address

    def drain(self) -> None:
        """Fail health checks and begin to close connections.

        Raises:
            OSError: Envoy does not answer, or refuses.
        """
        self._request("POST", "/healthcheck/fail")
        self._request("POST", "/drain_listeners?graceful&skip_exit")

    def is_live(self) -> bool:
        """Whether Envoy has its configuration and listens.

        Raises:
            OSError: Envoy does not answer, or says that it has not.
        """
        return self._request("GET", "/ready").strip() == LIVE

    def active_calls(self) -> int:
        """Calls that the edge serves now.

        Raises:
            OSError: Envoy does not answer, or refuses.
        """
        answer = self._request("GET", f"/stats?format=json&filter=^{ACTIVE_CALLS.replace('.', '[.]')}$")
        stats: list[dict[str, Any]] = json.loads(answer)["stats"]
        return sum(int(stat.get("value", 0)) for stat in stats)

    def _request(self, verb: str, path: str) -> bytes:
        connection = self._connect()
        try:
            connection.request(verb, path)
            answer = connection.getresponse()
            body = answer.read()
        except http.client.HTTPException as error:
            raise OSError(f"Envoy's admin interface answers no HTTP: {error}") from None
        finally:
            connection.close()
        if answer.status != http.client.OK:
            raise OSError(f"Envoy's admin interface answers {path} with {answer.status}")
        return body

    def _connect(self) -> http.client.HTTPConnection:
        if self._address.startswith(UNIX):
            return _UnixConnection(self._address.removeprefix(UNIX))
        host, port = endpoint(self._address)
        return http.client.HTTPConnection(host, port, timeout=ANSWER_SECONDS)


class _UnixConnection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=ANSWER_SECONDS)
        self._path = Path(path)

    def connect(self) -> None:
        """Connect to the socket instead of a port.

        By way of its folder: the kernel takes paths of at most 107 bytes.
        """
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(ANSWER_SECONDS)
        folder = os.open(self._path.parent, os.O_PATH | os.O_DIRECTORY)
        try:
            self.sock.connect(f"/proc/self/fd/{folder}/{self._path.name}")
        finally:
            os.close(folder)


def drain(admin: Admin, seconds: float) -> int:
    """Drain, and wait for the running calls.

    Args:
        admin: The Envoy to drain.
        seconds: Time that the calls have.

    Returns:
        Calls that were still running at the end.

    Raises:
        OSError: Envoy does not answer, or refuses.
    """
    deadline = time.monotonic() + seconds
    admin.drain()
    while (running := admin.active_calls()) and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)
    return running


def main(arguments: list[str] | None = None) -> int:
    """Run the command line and return its exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--admin", required=True, help="unix:PATH or host:port of Envoy's admin interface")
    parser.add_argument("--seconds", type=float, default=10.0, help="time that running calls have")
    options = parser.parse_args(arguments)
    try:
        running = drain(Admin(options.admin), options.seconds)
    except OSError as error:
        print(f"Envoy cannot be drained: {error}", file=sys.stderr)
        return 2
    if running:
        print(f"{running} calls were still running", file=sys.stderr)
    return 1 if running else 0


if __name__ == "__main__":
    sys.exit(main())
