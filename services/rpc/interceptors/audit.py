"""Tells the audit who was let in and who was not, and what came of it."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Container, Mapping
from contextlib import asynccontextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import grpc
from google.protobuf.message import Message

from parley.auth.v1 import audit_pb2
from services.rpc.audit import AuditSink, stamped
from services.rpc.call import Call, current_call
from services.rpc.errors import Internal, ServiceError
from services.rpc.interceptors.around import CallInterceptor, Context
from services.rpc.redaction import MAX_FACTS, as_json, facts, redacted

CLIENT_ADDRESS = "x-parley-client-address"
EDGE = "edge"
MAX_JSON_BYTES = 60_000
MAX_METHOD_CHARACTERS = 256
MAX_ID_CHARACTERS = 64

# Who is let into these is told only when it is refused: probes, public keys and what services ask of auth
# for themselves decide nothing, what a key is exchanged for is told by the service that it is used at, and
# the audit does not write about its own writing.
QUIET_METHODS = (
    "/grpc.health.v1.Health/",
    "/parley.auth.v1.SessionService/GetJwks",
    "/parley.auth.v1.AuditService/RecordEvents",
    "/parley.auth.v1.QuotaService/GetEffectiveLimits",
    "/parley.auth.v1.RevocationService/WatchRevocations",
    "/envoy.service.auth.v3.Authorization/",
    "/envoy.service.accesslog.v3.AccessLogService/",
)
# Whoever passed the checks may still be turned away by the service itself.
REFUSALS = frozenset({"UNAUTHENTICATED", "PERMISSION_DENIED", "RESOURCE_EXHAUSTED"})


@dataclass
class _Seen:
    """What came in and went out of a call so far, without what is redacted.

    Attributes:
        quiet: The call will most likely not be recorded: its first message is
            read only when it is.
    """

    quiet: bool = False
    digest: Any = field(default_factory=hashlib.sha256)
    request: Message | None = None
    answer: Message | None = None
    unread: Message | None = None

    def take(self, message: Message) -> None:
        """Take a message that came in."""
        if self.quiet and self.request is None and self.unread is None:
            self.unread = message
        else:
            self.read()
            self._read(message)

    def read(self) -> None:
        """Read what was left unread."""
        if self.unread is not None:
            self._read(self.unread)
            self.unread = None

    def _read(self, message: Message) -> None:
        kept = redacted(message)
        self.digest.update(kept.SerializeToString(deterministic=True))
        self.request = self.request or kept


_seen: ContextVar[_Seen] = ContextVar("parley_audit_seen")


class Audit(CallInterceptor):
    """Records each call at its end."""

    def __init__(self, sink: AuditSink, *, keep_content: bool = False) -> None:
        """Record here.

        Args:
            sink: Takes the events.
            keep_content: Whether requests are kept in full, without what is redacted.
        """
        self._sink = sink
        self._keep_content = keep_content

    def begin(self, method: str) -> None:
        """Begin a new look."""
        _seen.set(_Seen(quiet=method.startswith(QUIET_METHODS)))

    def on_request(self, message: Message) -> None:
        """Take the digest of what may be kept of it."""
        _seen.get().take(message)

    def on_answer(self, message: Message) -> None:
        """Keep it for the ids in it."""
        seen = _seen.get()
        if not seen.quiet:
            seen.answer = redacted(message)

    @asynccontextmanager
    async def around(self, context: Context, method: str) -> AsyncIterator[None]:
        """Record how the call went.

        Raises:
            AuditFull: The audit takes no more, and calls without it are not allowed.
        """
        call, quiet = current_call(), method.startswith(QUIET_METHODS)
        call.client_address = _client_address(context)
        if not quiet:
            self._sink.admit()
            call.hear_part = partial(self._part_ended, call)
        error: BaseException | None = None
        try:
            yield
        except (Exception, asyncio.CancelledError, GeneratorExit) as raised:
            error = raised
            raise
        finally:
            error = error or call.refusal
            if not quiet or not call.admitted or call.refusal is not None:
                self._sink.record(self._ended(call, error))

    def _part_ended(
        self, call: Call, error: BaseException | None, content: bytes, facts: Mapping[str, str]
    ) -> None:
        event = _ended(call, error)
        event.request_digest = hashlib.sha256(content).hexdigest()
        event.resources.update(facts)
        self._sink.record(event)

    def _ended(self, call: Call, error: BaseException | None) -> audit_pb2.AuditEvent:
        event, seen = _ended(call, error), _seen.get()
        _describe(event, call, seen)
        if self._keep_content and seen.request is not None:
            event.request_json = as_json(seen.request, MAX_JSON_BYTES)
        return event


class AuditAdmission(CallInterceptor):
    """Notes that a call passed all checks, and records that a stream begins."""

    def __init__(self, sink: AuditSink | None, streams: Container[str]) -> None:
        """Record the beginning of these streams here, if anywhere."""
        self._sink = sink
        self._streams = streams

    @asynccontextmanager
    async def around(self, context: Context, method: str) -> AsyncIterator[None]:
        """Note it before the servicer runs."""
        call = current_call()
        call.admitted = True
        if self._sink is not None and method in self._streams and not method.startswith(QUIET_METHODS):
            event = _event(call, audit_pb2.AUDIT_STAGE_STARTED)
            _describe(event, call, _seen.get())
            self._sink.record(event)
        yield


def _event(call: Call, stage: audit_pb2.AuditStage.ValueType) -> audit_pb2.AuditEvent:
    """An event of a caller who was let in; who, from where, under which id."""
    principal = call.principal
    event = audit_pb2.AuditEvent(
        stage=stage,
        method=call.method[:MAX_METHOD_CHARACTERS],
        request_id=call.request_id,
        peer=call.peer,
        # Only the edge knows it; what a neighbour says of an address proves nothing.
        client_address=call.client_address[:MAX_ID_CHARACTERS] if call.peer == EDGE else "",
        decision=audit_pb2.AUDIT_DECISION_ALLOWED,
    )
    for name in ("tenant_id", "user_id", "key_id", "session_id"):
        # Who logs in is known only when it is done.
        known = getattr(principal, name) if principal is not None else call.facts.get(name, "")
        setattr(event, name, known)
    return stamped(event)


def _ended(call: Call, error: BaseException | None) -> audit_pb2.AuditEvent:
    """An event that tells how the call, or a part of it, ended."""
    event = _event(call, audit_pb2.AUDIT_STAGE_ENDED)
    event.code, event.reason = _outcome(error)
    if not call.admitted or event.code in REFUSALS:
        event.decision = audit_pb2.AUDIT_DECISION_REFUSED
    return event


def _describe(event: audit_pb2.AuditEvent, call: Call, seen: _Seen) -> None:
    """Say what the call was about: ids and plain values by name, everything else as a digest."""
    seen.read()
    found = dict(list(call.facts.items())[:MAX_FACTS])
    if seen.request is not None:
        found |= facts(seen.request, names=call.principal is not None)
        event.request_digest = seen.digest.hexdigest()
    if seen.answer is not None:
        ids = facts(seen.answer)
        found |= {f"answer.{path}": text for path, text in ids.items() if path.endswith(("_id", "_ids"))}
    event.resources.update(list(found.items())[:MAX_FACTS])


def _outcome(error: BaseException | None) -> tuple[str, str]:
    """Code and reason that a call ends with when this passes by."""
    if error is None:
        return "OK", ""
    if isinstance(error, ServiceError):
        return error.code.name, error.reason_name()
    if isinstance(error, asyncio.CancelledError | GeneratorExit):
        return grpc.StatusCode.CANCELLED.name, ""
    return grpc.StatusCode.INTERNAL.name, Internal.reason_name()


def _client_address(context: Context) -> str:
    """Where the caller is, as the connection states it."""
    metadata = context.invocation_metadata() or ()
    return next((str(value) for key, value in metadata if key == CLIENT_ADDRESS), "")
