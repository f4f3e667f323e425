"""Puts the service's servicers together from what `__main__` opened."""

from __future__ import annotations

import secrets
from dataclasses import dataclass

from opentelemetry.trace import Tracer

from parley.auth.v1.audit_service_pb2_grpc import add_AuditServiceServicer_to_server
from parley.auth.v1.key_service_pb2_grpc import add_KeyServiceServicer_to_server
from parley.auth.v1.quota_service_pb2_grpc import add_QuotaServiceServicer_to_server
from parley.auth.v1.revocation_service_pb2_grpc import add_RevocationServiceServicer_to_server
from parley.auth.v1.session_service_pb2_grpc import add_SessionServiceServicer_to_server
from parley.auth.v1.token_service_pb2_grpc import add_TokenServiceServicer_to_server
from parley.auth.v1.usage_service_pb2_grpc import add_UsageServiceServicer_to_server
from parley.edge.access_log_pb2_grpc import add_AccessLogServiceServicer_to_server
from parley.edge.external_auth_pb2_grpc import add_AuthorizationServicer_to_server
from services.auth.administration import add_administration
from services.auth.audit.office import AuditOffice
from services.auth.audit_servicer import AuditServicer
from services.auth.clock import Clock
from services.auth.descriptors import platform_services
from services.auth.edge_refusals import EdgeRefusalServicer
from services.auth.edge_servicer import EdgeServicer
from services.auth.exchange import KeyExchange
from services.auth.external.issuer import ExternalIssuer
from services.auth.external.logins import ExternalLogins
from services.auth.health import PlatformHealth
from services.auth.key_management import KeyManagement
from services.auth.key_servicer import KeyServicer
from services.auth.last_use import LastUse
from services.auth.live_sessions import LiveSessions
from services.auth.passwords import Passwords
from services.auth.private_files import read_or_make
from services.auth.quota_servicer import QuotaServicer
from services.auth.quotas import Quotas
from services.auth.revocation_servicer import RevocationServicer
from services.auth.revocations import RevocationLog
from services.auth.run_tokens import DELEGATIONS, RunTokens
from services.auth.session_servicer import SessionServicer
from services.auth.sessions import Sessions
from services.auth.settings import AuthSettings
from services.auth.signing_keys import SigningKeys
from services.auth.throttle import LoginThrottle
from services.auth.token_servicer import TokenServicer
from services.auth.tokens import AccessTokens
from services.auth.usage_servicer import UsageServicer
from services.ledger.ledger import Ledger
from services.rpc.pages import PageTokens
from services.rpc.server import RpcServer
from services.rpc.verifier import JwksVerifier
from services.sql.database import Database


@dataclass(frozen=True)
class Parts:
    """What is opened once and shared by the servicers.

    Attributes:
        settings: What the service is told.
        clock: Tells the time.
        database: Where identities are kept.
        passwords: Hashes them.
        keys: What access tokens are signed with.
        last_use: Notes the use of API keys.
        health: The health of the platform.
        revocations: What no longer holds though its time is not over.
        audit: What is told of all that is decided and done.
        ledger: Where usage is counted; None where no store is set.
        issuer: The outside issuer that is trusted; None where there is none.
    """

    settings: AuthSettings
    clock: Clock
    database: Database
    passwords: Passwords
    keys: SigningKeys
    last_use: LastUse
    health: PlatformHealth
    revocations: RevocationLog
    audit: AuditOffice
    ledger: Ledger | None
    issuer: ExternalIssuer | None


def build_server(parts: Parts, tracer: Tracer | None = None) -> RpcServer:
    """The server with its servicers, not started yet.

    Args:
        parts: What is opened.
        tracer: Makes spans; None where nothing is traced.

    Raises:
        StartError: The key of the page tokens cannot be had.
    """
    settings, clock = parts.settings, parts.clock
    issuer, audience = settings.token_issuer, settings.token_audience
    tokens = AccessTokens(
        parts.keys, clock, issuer=issuer, audience=audience, life=settings.access_token_life
    )
    server = RpcServer(
        settings,
        JwksVerifier(tokens.key_set, issuer=issuer, audience=audience, services=tuple(DELEGATIONS)),
        revocations=parts.revocations.known,
        health_servicer=parts.health,
        reflected=platform_services(),
        audit=parts.audit.own,
        tracer=tracer,
    )
    _add_identity(server, parts, tokens)
    _add_revocation(server, parts, tokens)
    _add_audit(server, parts)
    pages = _page_tokens(settings)
    server.add(
        add_UsageServiceServicer_to_server, UsageServicer(parts.database, pages, clock, server.stopping)
    )
    quotas = Quotas(parts.database, clock)
    server.add(
        add_QuotaServiceServicer_to_server,
        QuotaServicer(quotas, parts.ledger, _page_tokens(settings), clock),
    )
    return server


def _add_revocation(server: RpcServer, parts: Parts, tokens: AccessTokens) -> None:
    """Add what ends tokens before their time, and what lets runs outlive them."""
    settings = parts.settings
    server.add(
        add_RevocationServiceServicer_to_server, RevocationServicer(parts.revocations, server.stopping)
    )
    issuer, audience = settings.token_issuer, settings.token_audience
    # A tool that a run calls is shown the run's token; inference sees callers' own alone.
    verifiers = {
        "inference": JwksVerifier(tokens.key_set, issuer=issuer, audience=audience),
        "tools": JwksVerifier(tokens.key_set, issuer=issuer, audience=audience, services=("tools",)),
    }
    run_tokens = RunTokens(
        parts.database, verifiers, parts.revocations, tokens, parts.clock, settings.run_token_life
    )
    server.add(add_TokenServiceServicer_to_server, TokenServicer(run_tokens, parts.clock))


def _add_identity(server: RpcServer, parts: Parts, tokens: AccessTokens) -> None:
    """Add who callers are and what they call with."""
    settings, clock, database = parts.settings, parts.clock, parts.database
    throttle = LoginThrottle(database, clock)
    sessions = Sessions(database, parts.passwords, throttle, tokens, clock, settings.session_life)
    exchange = KeyExchange(database, tokens, parts.last_use, clock)
    external = ExternalLogins(parts.issuer, database, sessions, clock) if parts.issuer is not None else None
    pages = _page_tokens(settings)
    live = LiveSessions(database, clock)
    server.add(
        add_SessionServiceServicer_to_server,
        SessionServicer(sessions, live, pages, tokens, clock, external),
    )
    management = KeyManagement(database, exchange, clock)
    server.add(
        add_KeyServiceServicer_to_server,
        KeyServicer(management, exchange, pages, clock),
    )
    server.add(add_AuthorizationServicer_to_server, EdgeServicer(exchange))
    add_administration(server, database, parts.passwords, parts.keys, throttle, pages, clock)


def _add_audit(server: RpcServer, parts: Parts) -> None:
    """Add what takes and shows the audit."""
    office = parts.audit
    servicer = AuditServicer(
        parts.database, office.chain, office.checkpoints, _page_tokens(parts.settings), server.stopping
    )
    server.add(add_AuditServiceServicer_to_server, servicer)
    server.add(add_AccessLogServiceServicer_to_server, EdgeRefusalServicer(office.edge, server.stopping))


def _page_tokens(settings: AuthSettings) -> PageTokens:
    """Replicas share the key, so that a page's successor may come from another one."""
    return PageTokens(read_or_make(settings.data_path / "page-token-key", lambda: secrets.token_bytes(32)))
