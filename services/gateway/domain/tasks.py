"""What a task must be to be accepted, and how its events change what clients see of it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import NamedTuple
from uuid import UUID

from morningai.branch import parse_branch
from morningai.errors import InvalidInput

LONGEST_INSTRUCTION = 4000
SHORTEST_TTL = timedelta(seconds=1)
# The seals of a task, its timer's among them, last for 30 days.
LONGEST_TTL = timedelta(days=28)
SOURCE_NAME = re.compile(r"^sources/[a-z0-9][a-z0-9-]{1,38}[a-z0-9]$")


class TaskState(StrEnum):
    QUEUED = "queued"
    RUNNING = "running"
    WAITING_FOR_APPROVAL = "waiting_for_approval"
    SUCCEEDED = "succeeded"
    PARTLY_SUCCEEDED = "partly_succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"


ENDED = frozenset(
    {TaskState.SUCCEEDED, TaskState.PARTLY_SUCCEEDED, TaskState.FAILED, TaskState.CANCELLED, TaskState.EXPIRED}
)


class TaskKind(StrEnum):
    ANSWER = "answer"
    FAQ = "faq"
    DOCUMENT = "document"
    CHANGE = "change"


class TaskPriority(StrEnum):
    LOW = "low"
    NORMAL = "normal"
    HIGH = "high"


@dataclass(frozen=True)
class Failure:
    reason: str
    message: str
    remedy: str


@dataclass(frozen=True)
class Step:
    step: str
    service: str
    state: str
    start_time: datetime | None
    end_time: datetime | None
    result: str
    summary: str
    engine: str
    model: str
    failure: Failure | None
    commit: str = ""


@dataclass(frozen=True)
class NewTask:
    """A request that passed every check; `branch` is None where nothing is pushed, and empty for the task's own;
    `base_commit` is empty for the source's newest, `ttl` None for any time."""

    request_id: UUID
    instruction: str
    source: str
    kinds: tuple[TaskKind, ...]
    priority: TaskPriority = TaskPriority.NORMAL
    branch: str | None = None
    base_commit: str = ""
    ttl: timedelta | None = None

    def branch_of(self, task_id: UUID) -> str:
        """Where the task's change is pushed; empty for nowhere."""
        return "" if self.branch is None else self.branch or f"morningai/{task_id}"


@dataclass(frozen=True)
class Task:
    task_id: UUID
    instruction: str
    source: str
    kinds: tuple[TaskKind, ...]
    state: TaskState
    trace_id: str
    created_at: datetime
    updated_at: datetime
    sequence: int = 0
    steps: tuple[Step, ...] = field(default_factory=tuple)
    failure: Failure | None = None
    ended_at: datetime | None = None
    priority: TaskPriority = TaskPriority.NORMAL
    branch: str = ""
    base_commit: str = ""
    expires_at: datetime | None = None

    @property
    def ttl(self) -> timedelta | None:
        """How long it may take. In UTC, because differences within a zone ignore its changes of the clock."""
        return self.expires_at.astimezone(UTC) - self.created_at.astimezone(UTC) if self.expires_at else None

    @property
    def commit(self) -> str:
        """What was pushed."""
        return next((step.commit for step in self.steps if step.commit), "")

    @property
    def key(self) -> tuple[datetime, UUID]:
        """Where it stands among the tenant's tasks."""
        return self.created_at, self.task_id


class Place(NamedTuple):
    """Where an event stands among those of its trace: task after task, each from when its first event came."""

    began_at: datetime
    task_id: UUID
    sequence: int


@dataclass(frozen=True)
class NewEvent:
    """One event as it arrives; `type` is as subscribers know it, `event` a serialized TaskEvent."""

    event_id: UUID
    type: str
    sequence: int
    trace_id: str
    event: bytes


@dataclass(frozen=True)
class KeptEvent:
    """One event of the feed; `content` is a serialized TaskEvent."""

    place: Place
    content: bytes


@dataclass(frozen=True)
class TaskChange:
    """One event of a task."""

    sequence: int
    time: datetime
    state: TaskState
    step: Step | None
    failure: Failure | None


def check_new_task(
    *,
    request_id: str,
    instruction: str,
    source: str,
    kinds: tuple[TaskKind, ...],
    priority: TaskPriority,
    branch: str | None,
    ttl: timedelta | None,
) -> NewTask:
    """Raises InvalidInput that names the field and the remedy."""
    return NewTask(
        _request_id(request_id),
        _instruction(instruction),
        _source(source),
        _kinds(kinds),
        priority,
        _branch(branch, kinds),
        ttl=_ttl(ttl),
    )


def _request_id(request_id: str) -> UUID:
    try:
        return UUID(request_id)
    except ValueError as error:
        raise InvalidInput("request_id", "is not a UUID.", remedy="Send a new UUID with each new request.") from error


def _instruction(instruction: str) -> str:
    text = instruction.strip()
    if not text:
        raise InvalidInput("task.instruction", "is empty.", remedy="Say what you want to know or to change.")
    if len(text) > LONGEST_INSTRUCTION:
        raise InvalidInput(
            "task.instruction",
            f"has {len(text)} characters.",
            remedy=f"Say it in at most {LONGEST_INSTRUCTION} characters.",
        )
    return text


def _source(source: str) -> str:
    if not SOURCE_NAME.fullmatch(source):
        raise InvalidInput(
            "task.source", f"'{source}' is not the name of a source.", remedy="Use a name that `source list` shows."
        )
    return source


def _kinds(kinds: tuple[TaskKind, ...]) -> tuple[TaskKind, ...]:
    if not kinds:
        raise InvalidInput("task.kinds", "is empty.", remedy="Ask for at least one of answer, faq, document, change.")
    if len(set(kinds)) != len(kinds):
        raise InvalidInput("task.kinds", "names a kind twice.", remedy="Name each kind once.")
    return kinds


def _branch(branch: str | None, kinds: tuple[TaskKind, ...]) -> str | None:
    if branch is not None and TaskKind.CHANGE not in kinds:
        raise InvalidInput("task.delivery", "is of no change.", remedy="Ask for the kind change, or leave it out.")
    return parse_branch(branch, field="task.delivery.branch") if branch else branch


def _ttl(ttl: timedelta | None) -> timedelta | None:
    if ttl is not None and not SHORTEST_TTL <= ttl <= LONGEST_TTL:
        raise InvalidInput(
            "task.ttl",
            "is not between 1 second and 28 days.",
            remedy="Give a time in that range, or none for a task that may take any time.",
        )
    return ttl


def apply_change(task: Task, change: TaskChange) -> Task:
    """The task after its next event. Raises ValueError for an event out of order."""
    if change.sequence != task.sequence + 1:
        raise ValueError(f"event {change.sequence} does not follow {task.sequence}")
    return replace(
        task,
        sequence=change.sequence,
        state=change.state,
        updated_at=change.time,
        ended_at=change.time if change.state in ENDED else None,
        steps=_with_step(task.steps, change.step),
        failure=change.failure or task.failure,
    )


def last_in_row(sequences: Iterable[int], *, after: int) -> int:
    """The last that follows without a gap; `after` itself when none does."""
    for sequence in sorted(sequences):
        after += sequence == after + 1
    return after


def _with_step(steps: tuple[Step, ...], changed: Step | None) -> tuple[Step, ...]:
    if changed is None:
        return steps
    if all(step.step != changed.step for step in steps):
        return (*steps, changed)
    return tuple(changed if step.step == changed.step else step for step in steps)
