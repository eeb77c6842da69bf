"""Tasks, and the feed of their events."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from uuid import UUID

from psycopg.rows import DictRow
from psycopg.types.json import Jsonb

from morningai.db.queries import load_queries
from morningai.db.quotas import Quota, check_quota
from morningai.db.session import Session
from services.gateway.domain.tasks import (
    Failure,
    KeptEvent,
    NewEvent,
    NewTask,
    Place,
    Step,
    Task,
    TaskKind,
    TaskPriority,
    TaskState,
    last_in_row,
)

QUERIES = load_queries(__file__)
END_OF_TIME = datetime.fromisoformat("9999-01-01T00:00:00+00:00")
LAST_ID = UUID(int=2**128 - 1)
BEFORE_ALL = Place(datetime.fromisoformat("0001-01-01T00:00:00+00:00"), UUID(int=0), 0)
MOST_EVENTS = 500


async def insert_task(session: Session, new: NewTask, *, task_id: UUID, trace_id: str) -> Task | None:
    """None when the request was accepted before. Raises QuotaExceeded."""
    row = await session.row(
        QUERIES["insert_task"],
        {
            "task_id": task_id,
            "request_id": new.request_id,
            "principal": session.principal,
            "instruction": new.instruction,
            "source": new.source,
            "kinds": list(new.kinds),
            "priority": new.priority,
            "branch": new.branch_of(task_id),
            "base_commit": new.base_commit,
            "trace_id": trace_id,
            "ttl_seconds": new.ttl.total_seconds() if new.ttl else None,
        },
    )
    if row is None:
        return None
    await check_quota(session, Quota.ACTIVE_TASKS, QUERIES["count_active_tasks"])
    return _task(row)


async def get_task_of_request(session: Session, request_id: UUID) -> Task:
    row = await session.row(QUERIES["get_task_of_request"], {"request_id": request_id})
    assert row is not None
    return _task(row)


async def get_task(session: Session, task_id: UUID) -> Task | None:
    row = await session.row(QUERIES["get_task"], {"task_id": task_id})
    return _task(row) if row else None


async def lock_task(session: Session, task_id: UUID) -> tuple[Task, bool] | None:
    """And whether the tenant has webhooks."""
    row = await session.row(QUERIES["lock_task"], {"task_id": task_id})
    return (_task(row), bool(row["has_webhooks"])) if row else None


async def list_tasks(session: Session, *, before: tuple[datetime, UUID] | None, limit: int) -> list[Task]:
    time, task_id = before or (END_OF_TIME, LAST_ID)
    rows = await session.rows(QUERIES["list_tasks"], {"before_time": time, "before_id": task_id, "limit": limit})
    return [_task(row) for row in rows]


async def update_task(session: Session, task: Task) -> None:
    await session.execute(
        QUERIES["update_task"],
        {
            "task_id": task.task_id,
            "state": task.state,
            "steps": Jsonb([_step_row(step) for step in task.steps]),
            "failure": Jsonb(vars(task.failure)) if task.failure else None,
            "sequence": task.sequence,
            "updated_at": task.updated_at,
            "ended_at": task.ended_at,
        },
    )


async def insert_events(session: Session, task: Task, events: Sequence[NewEvent]) -> list[bytes]:
    """Keep events, and return those that the task has not applied, in their order, at most MOST_EVENTS."""
    rows = await session.rows(
        QUERIES["insert_events"],
        {
            "task_id": task.task_id,
            "after": task.sequence,
            "last": last_in_row((event.sequence for event in events), after=task.sequence),
            "limit": MOST_EVENTS,
            "sequences": [event.sequence for event in events],
            "trace_ids": [event.trace_id for event in events],
            "events": [event.event for event in events],
            "event_ids": [event.event_id for event in events],
            "types": [event.type for event in events],
        },
    )
    return [row["event"] for row in rows]


async def place_events(session: Session, task: Task, *, last: int) -> None:
    """Gives those after the task's own sequence number their place in the feed, as far as they have none."""
    await session.execute(QUERIES["place_events"], {"task_id": task.task_id, "after": task.sequence, "last": last})


async def list_events(session: Session, task_id: UUID, *, after: int) -> list[bytes]:
    """The next events of a task, at most MOST_EVENTS."""
    parameters: dict[str, object] = {"task_id": task_id, "after": after, "limit": MOST_EVENTS}
    return [row["event"] for row in await session.rows(QUERIES["list_events"], parameters)]


async def list_kept(
    session: Session, *, task_id: UUID | None, trace_id: str | None, after: Place | None, limit: int
) -> list[KeptEvent]:
    """Of a task, or of a trace."""
    began_at, after_task_id, sequence = after or BEFORE_ALL
    parameters: dict[str, object] = {
        "task_id": task_id,
        "trace_id": trace_id,
        "after_began_at": began_at,
        "after_task_id": after_task_id,
        "after_sequence": sequence,
        "limit": limit,
    }
    rows = await session.rows(QUERIES["list_kept"], parameters)
    return [KeptEvent(Place(row["began_at"], row["task_id"], row["sequence"]), row["event"]) for row in rows]


def _task(row: DictRow) -> Task:
    return Task(
        task_id=row["task_id"],
        instruction=row["instruction"],
        source=row["source"],
        kinds=tuple(TaskKind(kind) for kind in row["kinds"]),
        state=TaskState(row["state"]),
        trace_id=row["trace_id"],
        created_at=row["created_at"],
        updated_at=row["updated_at"],
        sequence=row["sequence"],
        steps=tuple(_step(step) for step in row["steps"]),
        failure=Failure(**row["failure"]) if row["failure"] else None,
        ended_at=row["ended_at"],
        priority=TaskPriority(row["priority"]),
        branch=row["branch"],
        base_commit=row["base_commit"],
        expires_at=row["expires_at"],
    )


def _step_row(step: Step) -> dict[str, object]:
    return {
        **vars(step),
        "start_time": step.start_time and step.start_time.isoformat(),
        "end_time": step.end_time and step.end_time.isoformat(),
        "failure": vars(step.failure) if step.failure else None,
    }


def _step(row: Mapping[str, str | None] | DictRow) -> Step:
    stored = dict(row)
    for moment in ("start_time", "end_time"):
        stored[moment] = datetime.fromisoformat(str(stored[moment])) if stored[moment] else None
    stored["failure"] = Failure(**stored["failure"]) if stored["failure"] else None
    return Step(**stored)
