"""The span of a tool's call."""

from __future__ import annotations

from contextlib import AbstractContextManager

from opentelemetry.semconv._incubating.attributes import gen_ai_attributes as gen_ai
from opentelemetry.trace import Span

from services.rpc.tracing import span

EXECUTE = gen_ai.GenAiOperationNameValues.EXECUTE_TOOL.value


def call_span(tool: str, call_id: str) -> AbstractContextManager[Span]:
    """Around the block that calls a tool of the catalogue, waiting included; without what goes in and out."""
    attributes = {
        gen_ai.GEN_AI_OPERATION_NAME: EXECUTE,
        gen_ai.GEN_AI_TOOL_NAME: tool,
        gen_ai.GEN_AI_TOOL_CALL_ID: call_id,
        gen_ai.GEN_AI_TOOL_TYPE: "function",
    }
    return span(f"{EXECUTE} {tool}", attributes)
