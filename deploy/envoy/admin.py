"""What a running Envoy says of itself, and what it can be told."""

from __future__ import annotations

import http.client
import json
import socket
from pathlib import Path
from typing import Any

from deploy.envoy.settings import UNIX, endpoint
from deploy.unix_path import short

ACTIVE_CALLS = "http.edge.downstream_rq_active"
ANSWER_SECONDS = 5.0
LIVE = b"LIVE"
USED = {"eds_health_status": "HEALTHY"}
"""A host of which more is said fails its health checks, waits for the first, or is ejected or removed."""


class Admin:
    """Envoy's admin interface.

    Attributes:
        address: Where it is, `unix:PATH` or `host:port`.
    """

    def __init__(self, address: str) -> None:
        """Use the interface at `unix:PATH` or `host:port`."""
        self.address = address

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

    def hosts(self, cluster: str) -> dict[str, bool]:
        """The addresses behind a cluster, and whether each of them gets calls.

        Raises:
            OSError: Envoy does not answer, or refuses.
        """
        answer = self._request("GET", "/clusters?format=json")
        statuses: list[dict[str, Any]] = json.loads(answer).get("cluster_statuses", [])
        return {
            _address(host): host.get("health_status", {}).items() <= USED.items()
            for status in statuses
            if status["name"] == cluster
            for host in status.get("host_statuses", ())
        }

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
        if self.address.startswith(UNIX):
            return _UnixConnection(self.address.removeprefix(UNIX))
        host, port = endpoint(self.address)
        return http.client.HTTPConnection(host, port, timeout=ANSWER_SECONDS)


class _UnixConnection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=ANSWER_SECONDS)
        self._path = Path(path)

    def connect(self) -> None:
        """Connect to the socket instead of a port."""
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(ANSWER_SECONDS)
        with short(self._path) as path:
            self.sock.connect(path)


def _address(host: dict[str, Any]) -> str:
    """`host:port` of one of a cluster's hosts; its path, for a socket."""
    address = host["address"]
    if "pipe" in address:
        return f"{UNIX}{address['pipe']['path']}"
    where = address["socket_address"]
    name = f"[{where['address']}]" if ":" in where["address"] else where["address"]
    return f"{name}:{where['port_value']}"
