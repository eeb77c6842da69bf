"""What the rules look at: the evidence and the records, and what of them belongs together."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TypeAlias, TypeVar

from morningai.api.events.v1 import events_pb2 as events
from morningai.api.tasks.v1 import tasks_pb2 as api
from tests.chaos.auditor.records import Records, Row
from tests.chaos.evidence import Call, Evidence

Findings: TypeAlias = Iterator[str]
K = TypeVar("K")
ENDS = {
    "TaskSucceeded": "succeeded",
    "TaskPartlySucceeded": "partly_succeeded",
    "TaskFailed": "failed",
    "TaskCancelled": "cancelled",
    "TaskExpired": "expired",
}


@dataclass(frozen=True)
class TaskEvent:
    """One of the gateway's feed."""

    task: str
    sequence: int
    type: str
    state: str
    step: str
    step_state: str
    commit: str


@dataclass(frozen=True)
class World:
    evidence: Evidence
    records: Records

    @cached_property
    def tenant_of_task(self) -> dict[str, str]:
        return {str(row["task"]): str(row["tenant"]) for row in self.records.accepted}

    @cached_property
    def tenant_of_slug(self) -> dict[str, str]:
        return {tenant.slug: tenant.tenant_id for tenant in self.evidence.tenants}

    @cached_property
    def slug_of_tenant(self) -> dict[str, str]:
        return {tenant_id: slug for slug, tenant_id in self.tenant_of_slug.items()}

    @cached_property
    def sent(self) -> dict[str, Row]:
        """The messages of all outboxes by id."""
        return {str(row["id"]): row for row in self.records.outbox}

    @cached_property
    def task_messages(self) -> list[Row]:
        """What the orchestrator said of tasks, as events."""
        return [row for row in self.facts if row["service"] == "orchestrator"]

    @cached_property
    def facts(self) -> list[Row]:
        """What any service said as an event."""
        return [row for row in self.records.outbox if ".event." in _of(row)]

    @cached_property
    def feed(self) -> dict[str, list[TaskEvent]]:
        return grouped((_event(row) for row in self.records.events), lambda event: event.task)

    @cached_property
    def delivered(self) -> dict[str, list[events.ChangeDelivered]]:
        """By task, what docs said that it pushed."""
        said = [row for row in self.records.outbox if row["type"] == "ChangeDelivered"]
        return {
            task: [events.ChangeDelivered.FromString(bytes(row["body"])) for row in rows]
            for task, rows in grouped(said, lambda row: row["task"]).items()
        }

    @cached_property
    def acknowledged(self) -> dict[str, Call]:
        """By task id, the call that was answered with it."""
        return {
            call.task.removeprefix("tasks/"): call
            for call in self.evidence.calls
            if call.method == "CreateTask" and call.outcome == "ok" and call.task
        }


def grouped(things, key):  # type: ignore[no-untyped-def]  # of whatever
    groups = defaultdict(list)
    for thing in things:
        groups[key(thing)].append(thing)
    return dict(groups)


def counted(things: Iterable[K]) -> dict[K, int]:
    counts: dict[K, int] = defaultdict(int)
    for thing in things:
        counts[thing] += 1
    return counts


def _of(row: Row) -> str:
    return str(row["subject"])


def _event(row: Row) -> TaskEvent:
    event = api.TaskEvent.FromString(bytes(row["event"]))  # type: ignore[arg-type]
    return TaskEvent(
        task=str(row["task"]),
        sequence=event.sequence,
        type=event.type,
        state=api.TaskState.Name(event.task_state).removeprefix("TASK_STATE_").lower(),
        step=event.step.step,
        step_state=api.StepState.Name(event.step.state).removeprefix("STEP_STATE_").lower(),
        commit=event.step.commit,
    )
