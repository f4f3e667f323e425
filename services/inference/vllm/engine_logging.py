"""Makes the engine's own log lines, in all its processes, look like ours.

`engine_logging.json` names this formatter; vLLM reads that file in every
process it starts (`VLLM_LOGGING_CONFIG_PATH`).
"""

from __future__ import annotations

import logging

import structlog

FIELDS = (
    structlog.stdlib.add_log_level,
    structlog.stdlib.add_logger_name,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
    structlog.processors.dict_tracebacks,
)


def json_formatter() -> logging.Formatter:
    """Formats a record as a JSON line."""
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[*FIELDS, _add_service],
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            structlog.processors.JSONRenderer(),
        ],
    )


def _add_service(
    _logger: structlog.typing.WrappedLogger, _method: str, event: structlog.typing.EventDict
) -> structlog.typing.EventDict:
    event["service"] = "inference"
    return event
