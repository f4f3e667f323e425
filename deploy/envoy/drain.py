"""Drains a running Envoy, which by itself drops its calls on SIGTERM.

Usage: python -m deploy.envoy.drain --admin ADDRESS [--seconds N]

ADDRESS is `PARLEY_EDGE_ADMIN_ADDRESS`: `unix:PATH` or a loopback `host:port`.
/healthz turns to 503, callers are told to open new connections elsewhere
(GOAWAY, `connection: close`), and running calls have N seconds to end. Send
SIGTERM after it returns. Exits 1 where calls were still running.
"""

from __future__ import annotations

import argparse
import sys
import time

from deploy.envoy.admin import Admin

POLL_SECONDS = 0.1


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
