"""The call being served, within reach of everything that serves it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext, suppress
from contextvars import ContextVar
from dataclasses import dataclass, field

from services.rpc.errors import ServiceError, TokenMissing
from services.rpc.principal import Principal
from services.rpc.tenant_classes import NOBODY

REQUEST_ID = "x-request-id"
AUTHORIZATION = "authorization"


HearPart = Callable[[BaseException | None, bytes, Mapping[str, str]], None]
"""Takes what a part of a call ended with, its content, of which only a digest is kept, and ids and names."""


@dataclass
class Call:
    """What is known of a call so far; the interceptors fill it in.

    Attributes:
        request_id: Names the call in logs and errors.
        method: `/package.Service/Method`.
        deadline: When the client stops waiting, on the event loop's clock, in
            seconds. None where it waits for ever.
        peer: Name of the mTLS identity that opened the connection.
        principal: The caller, once the token was verified.
        tenant_class: The class of the caller's tenant, for metrics.
        onward_token: What other services are called with for the caller; empty means the caller's token.
        when_revoked: Ends the call when its token is revoked, where the servicer
            has a better end for it than an error.
        client_address: The caller's IP address as the edge states it; empty inside the mesh.
        waiting: Entered wherever the call waits for its servicer; ends that wait when the call must end.
        admitted: Whether peer, token, permission and request were found good.
        refusal: Why the call was refused, where the refusal is an answer and no error.
        facts: What the audit shall know that neither request nor answer tells: ids and names, no content.
        hear_part: Tells the audit how a part of the call ended; see `tell_part`. None where nobody asks.
    """

    request_id: str
    method: str
    deadline: float | None = None
    peer: str = ""
    principal: Principal | None = None
    tenant_class: str = NOBODY
    onward_token: str = field(default="", repr=False)
    when_revoked: Callable[[], None] | None = None
    client_address: str = ""
    waiting: AbstractContextManager[object] = field(default_factory=nullcontext, repr=False)
    admitted: bool = False
    refusal: ServiceError | None = None
    facts: dict[str, str] = field(default_factory=dict)
    hear_part: HearPart | None = field(default=None, repr=False)


_current: ContextVar[Call] = ContextVar("parley_call")


def enter_call(call: Call) -> None:
    """Make this the call that the current task serves."""
    _current.set(call)


def current_call() -> Call:
    """The call that the current task serves.

    Raises:
        LookupError: The task serves none.
    """
    return _current.get()


def note(**facts: str) -> None:
    """Let the audit know more of the current call; see `Call.facts`. Without a call nobody asks."""
    with suppress(LookupError):
        _current.get().facts.update({name: text for name, text in facts.items() if text})


def tell_part(error: BaseException | None, content: bytes, **facts: str) -> None:
    """Let the audit know how one of the things ended that a stream was asked for.

    Args:
        error: What it ended with; None where it went well.
        content: What was asked; only its digest is kept.
        facts: Ids and names.
    """
    with suppress(LookupError):
        if (hear := _current.get().hear_part) is not None:
            hear(error, content, facts)


def current_principal() -> Principal:
    """The caller of the current call.

    Raises:
        TokenMissing: The method let the caller in without a token.
    """
    principal = current_call().principal
    if principal is None:
        raise TokenMissing
    return principal


def current_tenant_class() -> str:
    """The class of the current caller's tenant; as that of nobody where no call is served."""
    call = _current.get(None)
    return NOBODY if call is None else call.tenant_class


def onward_metadata() -> tuple[tuple[str, str], ...]:
    """Metadata for calling another service for the current caller."""
    call = current_call()
    onward = [(REQUEST_ID, call.request_id)]
    if call.principal is not None:
        onward.append((AUTHORIZATION, f"Bearer {call.onward_token or call.principal.token}"))
    return tuple(onward)
