"""Messages that could not be handled: their names, which of them a caller asks for, and what may be done with them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, NamedTuple
from uuid import UUID

from morningai.bus.permissions import SERVICES
from morningai.errors import FailedPrecondition, InvalidInput, NotFound

LETTER_ID = re.compile(r"([a-z]{1,20}-[a-z]{1,20})\.([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})")
LONGEST_WHY = 500
NO_TENANT = UUID(int=0)
State = Literal["", "buried", "replayed", "dropped"]


class LetterKey(NamedTuple):
    consumer: str
    message_id: UUID


@dataclass(frozen=True)
class Letter:
    service: str
    tenant_id: UUID
    message_id: UUID
    consumer: str
    type: str
    reason: str
    error: str
    deliveries: int
    trace_id: str
    buried_at: datetime
    state: State
    decided_at: datetime | None
    decided_by: str
    why: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def letter_id(self) -> str:
        return f"{self.consumer}.{self.message_id}"


@dataclass(frozen=True)
class LetterFilter:
    """What is empty filters nothing."""

    service: str
    state: State


def parse_name(name: str) -> LetterKey:
    """Raises NotFound for a name that is none of ours."""
    found = LETTER_ID.fullmatch(name.removeprefix("deadLetters/"))
    if not found:
        raise NotFound("dead letter", name)
    return LetterKey(found[1], UUID(found[2]))


def check_filter(service: str, state: State) -> LetterFilter:
    """Raises InvalidInput."""
    if service and service not in SERVICES:
        raise InvalidInput("filter.service", "is no service.", remedy=f"Use one of {', '.join(SERVICES)}.")
    return LetterFilter(service, state)


def check_why(why: str) -> str:
    """Raises InvalidInput."""
    given = why.strip()
    if not given:
        raise InvalidInput("why", "is empty.", remedy="Say why the message can be done without.")
    if len(given) > LONGEST_WHY or not given.isprintable():
        raise InvalidInput("why", "cannot be kept.", remedy=f"Use one line of at most {LONGEST_WHY} characters.")
    return given


_REPLAY_REFUSED = {
    "dropped": ("was dropped", "Create a new task for what it was part of."),
    "received": ("was received meanwhile, and delivering it again would change nothing", "Drop it."),
    "forgotten": ("is not kept by its sender any more", "Create a new task for what it was part of, and drop it."),
    "ended": ("is of a task that has ended, and its seal with it", "Create a new task (`retry_of`), and drop it."),
}


def check_replayed(outcome: str, name: str) -> None:
    """Raises NotFound or FailedPrecondition unless the message is on its way, now or since an earlier call."""
    if outcome == "missing":
        raise NotFound("dead letter", name)
    if outcome != "replayed":
        problem, remedy = _REPLAY_REFUSED[outcome]
        raise FailedPrecondition(f"The message {problem}.", remedy=remedy)


def check_dropped(outcome: str, name: str) -> None:
    """Raises NotFound or FailedPrecondition unless it is dropped, now or since an earlier call."""
    if outcome == "missing":
        raise NotFound("dead letter", name)
    if outcome != "dropped":
        raise FailedPrecondition(
            "The message was replayed.", remedy="If it fails again, it is buried again and can be dropped then."
        )
