"""Asks the process beside it whether it answers: what containers run as their health check.

Usage: python -m cli.probe PROCESS [--alive]

PROCESS is auth, tools, inference, web or edge. The process's own variables say where it listens and what
identity it has, and the probe asks as that identity: services by the standard health protocol of gRPC over
mutual TLS, the page by a handshake, Envoy by its admin interface. Exits 0 where it serves, 1 where it does
not. With `--alive` any answer will do: a model that loads, or a service that drains, needs no restart.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from pathlib import Path

from pydantic import ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from cli.local.probes import Probe, local_address, page_shakes_hands, service_answers
from deploy.envoy.admin import Admin
from services.rpc.tls import TlsFiles

SERVICES = ("auth", "tools", "inference")
PAGE = "web"
EDGE = "edge"
WHOLE_PROCESS = ""
"""What the health protocol calls the process itself, whatever it observes beside."""


class ProbeSettings(BaseSettings):
    """What a probe needs of the process's settings; the process itself judges them all."""

    model_config = SettingsConfigDict(extra="ignore", frozen=True)

    listen_address: str = ""
    tls_certificate_path: Path
    tls_private_key_path: Path
    tls_authority_path: Path
    trust_domain: str = "parley.local"
    admin_address: str = ""

    @property
    def tls(self) -> TlsFiles:
        """The files of the process's mesh identity."""
        return TlsFiles(self.tls_certificate_path, self.tls_private_key_path, self.tls_authority_path)


def main(arguments: list[str] | None = None) -> int:
    """Run the command line and return its exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("process", choices=(*SERVICES, PAGE, EDGE))
    parser.add_argument("--alive", action="store_true", help="any answer will do")
    options = parser.parse_args(arguments)
    try:
        settings = ProbeSettings(_env_prefix=f"PARLEY_{options.process.upper()}_")
        if asyncio.run(_answers(_probe(options.process, settings, options.alive))):
            return 0
        reason = "it is not serving"
    except ValidationError as error:
        reason = f"{len(error.errors())} of its settings are missing"
    except (OSError, ValueError) as error:
        reason = str(error)
    print(f"{options.process}: {reason}", file=sys.stderr)
    return 1


async def _answers(probe: Probe) -> bool:
    return await probe()


def _probe(process: str, settings: ProbeSettings, alive: bool) -> Probe:
    """What to ask this kind of process."""
    if process == EDGE:
        return lambda: asyncio.to_thread(Admin(settings.admin_address).is_live)
    address = local_address(settings.listen_address)
    if process == PAGE:
        return page_shakes_hands(address, settings.tls, settings.trust_domain)
    return service_answers(
        address, settings.tls, process, WHOLE_PROCESS, settings.trust_domain, any_answer=alive
    )


if __name__ == "__main__":
    sys.exit(main())
