"""structlog, one JSON object per line that names no credential; tenant, task and trace are bound once."""

from __future__ import annotations

import logging
import sys

import structlog
from structlog.contextvars import bind_contextvars, clear_contextvars, merge_contextvars
from structlog.typing import EventDict, WrappedLogger

from morningai import telemetry
from morningai.redaction import hide_secrets

__all__ = ["bind_contextvars", "clear_contextvars", "start_logging"]

_JSON = structlog.processors.JSONRenderer()


def start_logging(service: str, level: str) -> None:
    """Send structlog's and the libraries' lines to standard error as JSON."""
    numeric = logging.getLevelNamesMapping()[level.upper()]
    shared: list[structlog.typing.Processor] = [
        merge_contextvars,
        _add_trace_id,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    structlog.configure(
        processors=[*shared, _add_service(service), _render],
        wrapper_class=structlog.make_filtering_bound_logger(numeric),
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, _add_service(service)],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                _render,
            ],
        )
    )
    logging.basicConfig(handlers=[handler], level=max(numeric, logging.WARNING), force=True)


def _add_trace_id(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    trace_id = telemetry.current_trace_id()
    if trace_id.strip("0"):
        event.setdefault("trace_id", trace_id)
    return event


def _render(logger: WrappedLogger, method: str, event: EventDict) -> str:
    """Credentials are hidden in the whole line: also in what a library says, and in tracebacks."""
    return hide_secrets(str(_JSON(logger, method, event)))


def _add_service(service: str) -> structlog.typing.Processor:
    def add(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
        event["service"] = service
        return event

    return add
