"""The orchestrator's rows."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import cast
from uuid import UUID

from psycopg.rows import DictRow
from psycopg.types.json import Jsonb

from morningai.db.queries import load_queries
from morningai.db.session import Database, Session
from services.orchestrator.domain import (
    WAVE_OF,
    Number,
    Priority,
    QueuePlace,
    Step,
    StepCommand,
    StepName,
    StepResult,
    StepState,
    Task,
    TaskState,
)

QUERIES = load_queries(__file__)


async def insert_task(session: Session, task: Task) -> Task | None:
    """With the state it got, running or queued; None for a task that was cancelled before it came."""
    row = await session.row(
        QUERIES["insert_task"],
        {
            "task_id": task.task_id,
            "instruction": task.instruction,
            "source": task.source,
            "kinds": list(task.kinds),
            "priority": task.priority,
            "branch": task.branch,
            "base_commit": task.base_commit,
            "graph_version": task.graph_version,
            "traceparent": task.traceparent,
        },
    )
    return _task(row) if row else None


async def set_start(session: Session, task_id: UUID, start_id: UUID) -> None:
    """The held message that admission lets go."""
    await session.execute(QUERIES["set_start"], {"task_id": task_id, "start_id": start_id})


async def set_expiry(session: Session, task_id: UUID, expiry_id: UUID) -> None:
    """The timer that ends the task."""
    await session.execute(QUERIES["set_expiry"], {"task_id": task_id, "expiry_id": expiry_id})


async def start_task(session: Session, task_id: UUID) -> None:
    await session.execute(QUERIES["start_task"], {"task_id": task_id})


async def get_queue_place(session: Session, task_id: UUID) -> QueuePlace | None:
    row = await session.row(QUERIES["get_queue_place"], {"task_id": task_id})
    return QueuePlace(row["position"], row["estimated_start"]) if row else None


async def set_concurrency(database: Database, concurrency: int) -> None:
    """How many tasks of all tenants run at a time; what may start because of it does."""
    async with database.connection() as connection:
        await connection.execute(QUERIES["set_concurrency"], {"concurrency": concurrency})
        await connection.execute(QUERIES["admit"])


async def principal_may(session: Session, scope: str) -> bool:
    """Whether whoever is behind the session's proof still has the scope."""
    row = await session.row(QUERIES["principal_may"], {"scope": scope})
    assert row is not None
    return bool(row["may"])


async def lock_task(session: Session, task_id: UUID) -> Task | None:
    """One writer per task: the row stays locked until the transaction ends."""
    row = await session.row(QUERIES["lock_task"], {"task_id": task_id})
    return _task(row) if row else None


def _task(row: DictRow) -> Task:
    return Task(
        task_id=row["task_id"],
        instruction=row["instruction"],
        source=row["source"],
        kinds=tuple(row["kinds"]),
        state=TaskState(row["state"]),
        graph_version=row["graph_version"],
        traceparent=row["traceparent"],
        priority=Priority(row["priority"]),
        start_id=row["start_id"],
        branch=row["branch"],
        base_commit=row["base_commit"],
        created_at=row["created_at"],
    )


async def next_number(session: Session, task_id: UUID) -> Number:
    row = await session.row(QUERIES["next_sequence"], {"task_id": task_id})
    assert row is not None
    return Number(row["sequence"], row["time"])


async def end_task(session: Session, task_id: UUID, state: TaskState) -> Number:
    """Its timer and its seals end with it, the commands' within minutes."""
    row = await session.row(QUERIES["end_task"], {"task_id": task_id, "state": state})
    assert row is not None
    return Number(row["sequence"], row["time"])


async def set_task_state(session: Session, task_id: UUID, state: TaskState) -> None:
    await session.execute(QUERIES["set_task_state"], {"task_id": task_id, "state": state})


async def insert_steps(
    session: Session, task_id: UUID, commands: Sequence[StepCommand], *, deadline_seconds: float
) -> list[tuple[Step, Number]]:
    """In the order of their commands, each with the number of the event that says so."""
    rows = await session.rows(
        QUERIES["insert_steps"],
        {
            "task_id": task_id,
            "steps": [command.step for command in commands],
            "waves": [WAVE_OF[command.step] for command in commands],
            "services": [command.service for command in commands],
            "command_ids": [command.command_id for command in commands],
            "timer_ids": [command.timer_id for command in commands],
            "deadline_seconds": deadline_seconds,
        },
    )
    steps = {step.command_id: step for step in map(_step, rows)}
    last = rows[0]["sequence"] if rows else 0
    ordered = [steps[command.command_id] for command in commands]
    return [(step, Number(last - len(ordered) + place, step.started_at)) for place, step in enumerate(ordered, start=1)]


async def restart_step(
    session: Session, task_id: UUID, command: StepCommand, *, deadline_seconds: float
) -> tuple[Step, Number]:
    """A step that ended begins anew, with another command."""
    row = await session.row(
        QUERIES["restart_step"],
        {
            "task_id": task_id,
            "step": command.step,
            "command_id": command.command_id,
            "timer_id": command.timer_id,
            "deadline_seconds": deadline_seconds,
        },
    )
    assert row is not None
    return _step(row), Number(row["sequence"], row["started_at"])


async def lock_task_and_list_steps(session: Session, command_id: UUID) -> tuple[Task, list[Step], datetime] | None:
    """The locked task whose step waits for a command's reply, all its steps, and the database's time."""
    locked = await session.row(QUERIES["lock_task_of_command"], {"command_id": command_id})
    if locked is None:
        return None
    # Read behind the lock: whoever held it may have ended the step.
    return _task(locked), await list_steps(session, locked["task_id"]), locked["now"]


async def end_step(
    session: Session, task_id: UUID, step: StepName, *, state: StepState, result: StepResult
) -> tuple[Step, Number] | None:
    """Its timer ends with it. None when the step had ended already."""
    parameters: dict[str, object] = {"task_id": task_id, "step": step, "state": state, "result": Jsonb(result)}
    row = await session.row(QUERIES["end_step"], parameters)
    return (_step(row), Number(row["sequence"], row["ended_at"])) if row else None


async def set_timer(session: Session, task_id: UUID, step: StepName, timer_id: UUID) -> None:
    await session.execute(QUERIES["set_timer"], {"task_id": task_id, "step": step, "timer_id": timer_id})


async def list_steps(session: Session, task_id: UUID) -> list[Step]:
    return [_step(row) for row in await session.rows(QUERIES["list_steps"], {"task_id": task_id})]


def _step(row: DictRow) -> Step:
    return Step(
        step=StepName(row["step"]),
        wave=row["wave"],
        service=row["service"],
        state=StepState(row["state"]),
        command_id=row["command_id"],
        timer_id=row["timer_id"],
        started_at=row["started_at"],
        deadline=row["deadline"],
        ended_at=row["ended_at"],
        result=cast(StepResult, row["result"]),
    )
