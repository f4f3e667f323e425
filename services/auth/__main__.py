"""The auth service's process: builds its parts, serves, drains and closes them in reverse order."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from datetime import timedelta
from pathlib import Path

from services.auth.assembly import Parts, build_server
from services.auth.audit.office import auditing, open_audit
from services.auth.clock import Clock, utc_now
from services.auth.errors import StartError
from services.auth.external.issuer import trusted_issuer
from services.auth.first_start import make_first_admin
from services.auth.health import Observer, PlatformHealth
from services.auth.housekeeping import Housekeeping
from services.auth.last_use import LastUse
from services.auth.passwords import Passwords
from services.auth.private_files import prepare_folder
from services.auth.quota_upkeep import QuotaUpkeep
from services.auth.revocations import RevocationLog
from services.auth.settings import AuthSettings
from services.auth.signing_keys import SigningKeys
from services.auth.store.backup import back_up
from services.auth.store.schema import migrate
from services.auth.usage.consumer import UsageConsumer
from services.auth.usage.history import StoredHistory
from services.auth.usage_store import usage_store
from services.ledger.ledger import Ledger
from services.rpc.errors import ServiceError
from services.rpc.server import RpcServer, run
from services.rpc.settings import SettingsError, load
from services.rpc.tasks import end_task
from services.rpc.telemetry import configure_logging, serve_metrics
from services.rpc.trace_export import tracing
from services.sql.database import Database, parse_url


@asynccontextmanager
async def serving(settings: AuthSettings, clock: Clock = utc_now) -> AsyncIterator[tuple[RpcServer, int]]:
    """Everything built, started and SERVING; closed at the end.

    Yields:
        The server, and the port that it listens on.

    Raises:
        StartError: Something that it needs cannot be had.
        ServiceError: The same, of the database.
        OSError: The address cannot be bound, or a TLS file not be read.
    """
    async with AsyncExitStack() as stack:
        data_path = prepare_folder(settings.data_path)
        url = parse_url(settings.database_url.get_secret_value())
        await migrate(url)
        database = Database(url)
        stack.push_async_callback(database.close)
        passwords = Passwords(settings.password_cost)
        stack.callback(passwords.close)
        await make_first_admin(database, passwords, data_path, clock)
        keys = SigningKeys(data_path / "signing-keys", clock, settings.longest_token_life)
        last_use = LastUse(database, clock)
        stack.push_async_callback(_flush, last_use)
        health = PlatformHealth(settings.replicas)
        await health.begin()
        revocations = RevocationLog(database, clock, settings.longest_token_life)
        await revocations.begin()
        audit = open_audit(settings, database, clock)
        store = await stack.enter_async_context(usage_store(settings.store_url.get_secret_value()))
        ledger = Ledger(store) if store is not None else None
        issuer = await stack.enter_async_context(trusted_issuer(settings.oidc, clock))
        parts = Parts(
            settings, clock, database, passwords, keys, last_use, health, revocations, audit, ledger, issuer
        )
        server = build_server(parts, await stack.enter_async_context(tracing(settings, "auth")))
        await stack.enter_async_context(auditing(audit, settings.grace_seconds, server.ask_to_stop))
        port = await server.start()
        stack.push_async_callback(server.stop)
        housekeeping = Housekeeping(
            database, last_use, keys, clock, timedelta(days=settings.signing_key_days)
        )
        observer = Observer(settings.replicas, health, settings.tls, settings.trust_domain)
        upkeep = [QuotaUpkeep(ledger, StoredHistory(database), clock).run()] if ledger is not None else []
        counting = [UsageConsumer(store, database).run()] if store is not None else []
        for chore in (housekeeping.run(), observer.run(), revocations.run(), *upkeep, *counting):
            task = asyncio.create_task(chore)
            task.add_done_callback(lambda done: _stop_after_fault(server, done))
            stack.push_async_callback(end_task, task)
        await server.set_serving(True)
        yield server, port


async def _flush(last_use: LastUse) -> None:
    """Write the last uses; at the end there is nobody left to tell that it failed."""
    with suppress(ServiceError):
        await last_use.flush()


def _stop_after_fault(server: RpcServer, chore: asyncio.Task[None]) -> None:
    """A chore that died leaves half a process; a whole new one is better."""
    if not chore.cancelled() and chore.exception() is not None:
        server.ask_to_stop()


async def serve(settings: AuthSettings) -> None:
    """Serve until asked to stop."""
    serve_metrics(settings.metrics_address)
    async with serving(settings) as (server, _):
        await server.serve_until_stopped()


async def perform(options: argparse.Namespace, settings: AuthSettings) -> None:
    """Do the one thing that the command line asks for, or serve."""
    url = parse_url(settings.database_url.get_secret_value())
    if options.migrate_to:
        await migrate(url, options.migrate_to)
    elif options.backup_to:
        await asyncio.to_thread(back_up, url, options.backup_to)
    else:
        await serve(settings)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the service.

    Args:
        arguments: The command line's; the process's own by default.

    Returns:
        The exit code: 1 when it cannot start, 2 when its settings are wrong.
    """
    parser = argparse.ArgumentParser(prog="python -m services.auth", description=__doc__)
    parser.add_argument(
        "--migrate-to", metavar="REVISION", help="bring the database there, forward or back; end"
    )
    parser.add_argument(
        "--backup-to",
        metavar="FILE",
        type=Path,
        help="copy the SQLite database there while it is in use; end",
    )
    options = parser.parse_args(arguments)
    os.umask(0o077)  # the database, its journal, keys: nothing here is for others
    try:
        settings = load(AuthSettings)
    except SettingsError as error:
        print(error, file=sys.stderr)
        return 2
    configure_logging("auth", settings.log_level)
    try:
        run(lambda: perform(options, settings))
    except (StartError, ServiceError, OSError) as error:
        print(f"auth cannot start: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
