"""One turn's calls: each runs here, waits for approval first, is the client's, or goes back to the model."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from parley.tools.v1 import tool_pb2
from services.inference.calling.catalogue import ServerTool
from services.inference.calling.client_tools import is_object
from services.inference.calling.errors import (
    ApprovalDenied,
    ApprovalLapsed,
    ApprovalRequired,
    CallLost,
    ClientToolFailed,
    ClientToolTimeout,
    ToolArgumentsRejected,
    ToolNotOffered,
)
from services.inference.calling.results import cut
from services.inference.calling.tool_calls import Toolbox, error_text
from services.inference.calling.waiting_calls import Answer, ClientResult, Decision, WaitingCalls
from services.inference.engine.turn import ToolCall
from services.inference.merging import merged
from services.inference.runs.events import (
    ApprovalDecided,
    ApprovalNeeded,
    ApprovalOutcome,
    CallReady,
    CallResult,
    CallUpdate,
    RunEvent,
)
from services.inference.runs.order import ApprovalPolicy, ChatOrder
from services.inference.takeovers.past import PastTurn
from services.rpc.call import tell_part
from services.rpc.errors import ServiceError


class ToolRound:
    """The calls of one turn.

    Attributes:
        left: Calls that the client answers after the run's end.
    """

    def __init__(
        self,
        order: ChatOrder,
        offered: Sequence[ServerTool],
        toolbox: Toolbox,
        waiting: WaitingCalls,
        result_bytes: int,
        past: PastTurn | None = None,
    ) -> None:
        """Run calls as this order says.

        Args:
            order: What was asked for.
            offered: The platform's tools that the model was offered.
            toolbox: Runs them.
            waiting: Where answers from outside arrive.
            result_bytes: Bytes of a result that the model is given.
            past: What became of the calls at a replica that was lost.
        """
        self._past = past or PastTurn()
        self._order = order
        self._offered = {tool.spec.name: tool for tool in offered}
        self._toolbox = toolbox
        self._waiting = waiting
        self._result_bytes = result_bytes
        self.left: list[ToolCall] = []

    async def events(self, calls: Sequence[ToolCall], number: int) -> AsyncGenerator[RunEvent, None]:
        """What happens to the calls, until each has its result or is left to the client."""
        streams: list[AsyncGenerator[RunEvent, None]] = []
        at_once: list[ToolCall] = []
        for call in calls:
            if call.id in self._past.results:
                continue
            fault = self._fault(call)
            client_side = fault is None and call.name in self._order.client_tools.names
            ready = self._ready(call, number, client_side=client_side)
            if call.id not in self._past.calls:
                yield ready
            fault = fault or self._loss(call)
            if fault is not None:
                yield _handed_back(call, fault)
            elif client_side and self._order.client_tools.waits:
                streams.append(self._answered_by_client(call))
            elif client_side:
                self.left.append(call)
            elif self._needs_approval(call.name):
                streams.append(self._approved_first(call, number))
            else:
                at_once.append(call)
        if at_once:
            streams.append(self._execute(at_once))
        async with aclosing(merged(streams)) as updates:
            async for update in updates:
                yield self._fitted(update) if isinstance(update, CallResult) else update

    def _fault(self, call: ToolCall) -> ServiceError | None:
        """Why a call goes back to the model without running; None where it does not."""
        names = {*self._offered, *self._order.client_tools.names}
        if call.name not in names:
            return ToolNotOffered(call.name, names)
        asks = self._needs_approval(call.name)
        if asks and self._order.approvals.policy is ApprovalPolicy.DENY:
            return ApprovalRequired(call.name)
        checked = asks or (call.name not in self._offered and not self._order.client_tools.unchecked)
        if checked and not is_object(call.arguments):
            # Nobody outside is bothered with what cannot run.
            return ToolArgumentsRejected(call.name, f"The arguments of {call.name!r} are no JSON object.")
        return None

    def _loss(self, call: ToolCall) -> ServiceError | None:
        """Why a call that its client was told of is not run again; None where it may be."""
        tool = self._offered.get(call.name)
        if tool is None or tool.safety_level == tool_pb2.SAFETY_LEVEL_SAFE:
            return None
        waited = self._needs_approval(call.name) and call.id not in self._past.decided
        return None if waited or call.id not in self._past.calls else CallLost(call.name)

    def _needs_approval(self, name: str) -> bool:
        tool = self._offered.get(name)
        return tool is not None and tool.dangerous and name not in self._order.approvals.approved

    def _ready(self, call: ToolCall, number: int, *, client_side: bool) -> CallReady:
        """Tell of a call; from then on its client may answer."""
        tools = self._order.client_tools
        if not client_side or not tools.waits:
            return CallReady(call, number, client_side)
        self._waiting.expect(call.id, ClientResult, tools.seconds)
        return CallReady(call, number, client_side, _in(tools.seconds))

    def _execute(self, calls: Sequence[ToolCall]) -> AsyncGenerator[CallUpdate, None]:
        return self._toolbox.execute(calls, self._order.conversation_id)

    async def _answered_by_client(self, call: ToolCall) -> AsyncGenerator[RunEvent, None]:
        began = asyncio.get_running_loop().time()
        answer = await self._waiting.wait(call.id)
        seconds = asyncio.get_running_loop().time() - began
        if not isinstance(answer, ClientResult):
            yield _handed_back(call, ClientToolTimeout(call.name, self._order.client_tools.seconds), seconds)
        elif answer.failed:
            yield _handed_back(call, ClientToolFailed(call.name, answer.content), seconds)
        else:
            yield CallResult(call, answer.content, None, seconds)

    async def _approved_first(self, call: ToolCall, number: int) -> AsyncGenerator[RunEvent, None]:
        tool, seconds = self._offered[call.name], self._order.approvals.seconds
        self._waiting.expect(call.id, Decision, seconds, permission=tool.permission)
        yield ApprovalNeeded(call, number, tool.safety_level, tool.permission, _in(seconds))
        decided = _decided(call, await self._waiting.wait(call.id))
        refusal = _refusal(call, decided, seconds)
        outcome = decided.outcome.name.lower()
        tell_part(refusal, call.arguments.encode(), tool=call.name, call_id=call.id, approval=outcome)
        yield decided
        if refusal is not None:
            yield _handed_back(call, refusal)
            return
        async with aclosing(self._execute([call])) as updates:
            async for update in updates:
                yield update

    def _fitted(self, result: CallResult) -> CallResult:
        """The result as long as the model is given it."""
        content, omitted = cut(result.content, self._result_bytes)
        return replace(result, content=content, omitted_bytes=omitted) if omitted else result


def _decided(call: ToolCall, answer: Answer | None) -> ApprovalDecided:
    if not isinstance(answer, Decision):
        return ApprovalDecided(call.id, ApprovalOutcome.LAPSED)
    outcome = ApprovalOutcome.APPROVED if answer.approved else ApprovalOutcome.DENIED
    return ApprovalDecided(call.id, outcome, answer.note)


def _refusal(call: ToolCall, decided: ApprovalDecided, seconds: float) -> ServiceError | None:
    """Why a call does not run; None where it was approved."""
    match decided.outcome:
        case ApprovalOutcome.APPROVED:
            return None
        case ApprovalOutcome.DENIED:
            return ApprovalDenied(call.name, decided.note)
        case ApprovalOutcome.LAPSED:
            return ApprovalLapsed(call.name, seconds)


def _handed_back(call: ToolCall, error: ServiceError, seconds: float = 0.0) -> CallResult:
    """A call that did not run, or not well, as the model is told."""
    status = error.to_status()
    return CallResult(call, error_text(status), status, seconds)


def _in(seconds: float) -> datetime:
    return datetime.now(UTC) + timedelta(seconds=seconds)
