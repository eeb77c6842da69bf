"""Entries of the audit log, and which of them a caller asks for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from morningai.errors import InvalidInput

LONGEST_FILTER = 200


@dataclass(frozen=True)
class AuditEntry:
    entry_id: UUID
    created_at: datetime
    principal: str
    action: str
    resource: str
    details: Mapping[str, object]
    trace_id: str
    outcome: str


@dataclass(frozen=True)
class AuditFilter:
    """An entry must match each that is not None; the end is exclusive."""

    action: str | None
    principal: str | None
    start: datetime | None
    end: datetime | None
    outcome: str | None


def check_filter(
    *, action: str, principal: str, start: datetime | None, end: datetime | None, outcome: str | None
) -> AuditFilter:
    """Raises InvalidInput."""
    if start is not None and end is not None and end <= start:
        raise InvalidInput("filter.end_time", "is not after the start.", remedy="Use a later time, or leave one out.")
    return AuditFilter(_text("filter.action", action), _text("filter.principal", principal), start, end, outcome)


def _text(field: str, value: str) -> str | None:
    if len(value) > LONGEST_FILTER or not value.isprintable():
        raise InvalidInput(field, "cannot be in the log.", remedy="Copy it from an entry of `audit list`.")
    return value or None
