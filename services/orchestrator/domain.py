"""Tasks, their steps, and how the steps' results decide the task's end."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import IntEnum, StrEnum
from typing import TypedDict
from uuid import UUID

LONGEST_RESEND_SECONDS = 600.0


class TaskState(StrEnum):
    """Admitted is a task that was queued and got a slot; clients see it queued until it starts."""

    QUEUED = "queued"
    ADMITTED = "admitted"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    PARTLY_SUCCEEDED = "partly_succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"


OPEN = frozenset({TaskState.QUEUED, TaskState.ADMITTED, TaskState.RUNNING})


class Priority(IntEnum):
    LOW = 1
    NORMAL = 2
    HIGH = 3


class StepState(StrEnum):
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


class StepName(StrEnum):
    INDEX = "index"
    ANSWER = "answer"
    FAQ = "faq"
    DOCUMENT = "document"
    CHANGE = "change"
    PUBLISH = "publish"


GENERATORS = (StepName.ANSWER, StepName.FAQ, StepName.DOCUMENT, StepName.CHANGE)
SERVICE_OF = {
    StepName.INDEX: "docs",
    StepName.ANSWER: "faqgen",
    StepName.FAQ: "faqgen",
    StepName.DOCUMENT: "docs",
    StepName.CHANGE: "codegen",
    StepName.PUBLISH: "docs",
}
# The states of a change that give a patch to use; the others fail the step with their name as the reason.
USABLE_CHANGES = frozenset({"verified", "verified_with_test_changes", "unverified_no_tests"})


class StepResult(TypedDict, total=False):
    """What a step ended with; plain data, because it is kept in checkpoints."""

    state: str
    result: str
    summary: str
    engine: str
    model: str
    reason: str
    message: str
    remedy: str
    snapshot: dict[str, str]
    version: int
    content_hash: str


@dataclass(frozen=True)
class Task:
    """`traceparent` is the request's, for what a later call causes; `start_id` is the held message that starts it."""

    task_id: UUID
    instruction: str
    source: str
    kinds: tuple[str, ...]
    state: TaskState
    graph_version: int
    traceparent: str
    priority: Priority = Priority.NORMAL
    start_id: UUID | None = None

    @property
    def is_open(self) -> bool:
        """Whether it can be cancelled still."""
        return self.state in OPEN


@dataclass(frozen=True)
class QueuePlace:
    """Where a task stands among its tenant's queued ones, and when it starts if they go on as lately."""

    position: int
    estimated_start: datetime | None


@dataclass(frozen=True)
class Step:
    step: StepName
    wave: str
    service: str
    state: StepState
    command_id: UUID
    timer_id: UUID
    started_at: datetime
    deadline: datetime
    ended_at: datetime | None = None
    result: StepResult = field(default_factory=StepResult)


@dataclass(frozen=True)
class End:
    """How a task ends; `cause` is the result of the step that failed it."""

    state: TaskState
    cause: StepResult


def decide_end(results: Mapping[str, StepResult], kinds: tuple[str, ...]) -> End:
    """Succeeded when every generator did, partly when some did; a failed generator discards no other's result."""
    if results.get(StepName.INDEX, {}).get("state") == StepState.FAILED:
        return End(TaskState.FAILED, results[StepName.INDEX])
    wanted = [results.get(kind, StepResult(state=StepState.FAILED)) for kind in kinds]
    wanted += [results[StepName.PUBLISH]] if StepName.PUBLISH in results else []
    failed = [result for result in wanted if result.get("state") != StepState.SUCCEEDED]
    if not failed:
        return End(TaskState.SUCCEEDED, StepResult())
    state = TaskState.FAILED if len(failed) == len(wanted) else TaskState.PARTLY_SUCCEEDED
    return End(state, failed[0])


def resend_delay_seconds(waited_seconds: float, *, first: float) -> float:
    """Doubles with the time a command has waited, so that a long queue is not filled with copies of its commands."""
    return min(max(first, waited_seconds), LONGEST_RESEND_SECONDS)
