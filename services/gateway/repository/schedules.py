"""A tenant's schedules, and what PostgreSQL lets their timers do."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from uuid import UUID

from psycopg.rows import DictRow
from psycopg.types.json import Jsonb

from morningai.db.queries import load_queries
from morningai.db.session import Session
from services.gateway.domain.schedules import Cron, MissedPolicy, NewSchedule, Schedule, ScheduleState
from services.gateway.domain.tasks import Failure, NewTask, TaskKind, TaskPriority

QUERIES = load_queries(__file__)
END_OF_TIME = datetime.fromisoformat("9999-01-01T00:00:00+00:00")
LAST_ID = UUID(int=2**128 - 1)


async def get_now(session: Session) -> datetime:
    """The database's time, that of the session's transaction."""
    row = await session.row(QUERIES["now"])
    assert row is not None
    moment: datetime = row["now"]
    return moment


async def count_schedules(session: Session) -> int:
    row = await session.row(QUERIES["count_schedules"])
    return int(row["count"]) if row else 0


async def insert_schedule(session: Session, schedule_id: UUID, new: NewSchedule) -> bool:
    """False when the request was accepted before."""
    parameters: dict[str, object] = {
        "schedule_id": schedule_id,
        "request_id": new.request_id,
        "display_name": new.display_name,
        "instruction": new.task.instruction,
        "source": new.task.source,
        "kinds": list(new.task.kinds),
        "priority": new.task.priority,
        "delivers": new.task.branch is not None,
        "cron": new.cron.expression,
        "time_zone": new.cron.time_zone,
        "missed_policy": new.missed_policy,
        "principal": session.principal,
        "ttl": new.task.ttl,
    }
    return await session.row(QUERIES["insert_schedule"], parameters) is not None


async def get_schedule_of_request(session: Session, request_id: UUID) -> Schedule:
    row = await session.row(QUERIES["get_schedule_of_request"], {"request_id": request_id})
    assert row is not None
    return _schedule(row)


async def get_schedule(session: Session, schedule_id: UUID) -> Schedule | None:
    row = await session.row(QUERIES["get_schedule"], {"schedule_id": schedule_id})
    return _schedule(row) if row else None


async def lock_schedule(session: Session, schedule_id: UUID) -> Schedule | None:
    row = await session.row(QUERIES["lock_schedule"], {"schedule_id": schedule_id})
    return _schedule(row) if row else None


async def list_schedules(session: Session, *, before: tuple[datetime, UUID] | None, limit: int) -> list[Schedule]:
    time, last_id = before or (END_OF_TIME, LAST_ID)
    parameters: dict[str, object] = {"before_time": time, "before_id": last_id, "limit": limit}
    return [_schedule(row) for row in await session.rows(QUERIES["list_schedules"], parameters)]


async def set_timer(session: Session, schedule_id: UUID, timer_id: UUID, *, next_fire_at: datetime) -> None:
    parameters: dict[str, object] = {"schedule_id": schedule_id, "timer_id": timer_id, "next_fire_at": next_fire_at}
    await session.execute(QUERIES["set_timer"], parameters)


async def mark_fired(
    session: Session, schedule_id: UUID, time: datetime, *, task_id: UUID | None, failure: Failure | None
) -> None:
    parameters: dict[str, object] = {"schedule_id": schedule_id, "time": time, "task_id": task_id}
    await session.execute(QUERIES["mark_fired"], parameters | {"failure": _failure_row(failure)})


async def pause_schedule(session: Session, schedule_id: UUID, *, failure: Failure | None) -> None:
    """Its seals end with it."""
    await session.execute(QUERIES["pause_schedule"], {"schedule_id": schedule_id, "failure": _failure_row(failure)})
    await session.execute(QUERIES["close_schedule"], {"schedule_id": schedule_id})


async def resume_schedule(session: Session, schedule_id: UUID) -> None:
    await session.execute(QUERIES["resume_schedule"], {"schedule_id": schedule_id, "principal": session.principal})


async def delete_schedule(session: Session, schedule_id: UUID) -> None:
    await session.execute(QUERIES["delete_schedule"], {"schedule_id": schedule_id})
    await session.execute(QUERIES["close_schedule"], {"schedule_id": schedule_id})


async def open_schedule(session: Session, schedule_id: UUID) -> None:
    """So that its timer can be sealed, for the session's principal."""
    await session.execute(QUERIES["open_schedule"], {"schedule_id": schedule_id})


async def open_scheduled_task(session: Session, task_id: UUID) -> None:
    """In the session of the schedule's timer."""
    await session.execute(QUERIES["open_scheduled_task"], {"task_id": task_id})


async def principal_may(session: Session, scope: str) -> bool:
    row = await session.row(QUERIES["principal_may"], {"scope": scope})
    return bool(row and row["may"])


async def record(
    session: Session, action: str, schedule: Schedule, details: Mapping[str, object], *, outcome: str = "succeeded"
) -> None:
    """An entry of the tenant's audit log."""
    parameters: dict[str, object] = {
        "action": f"schedules.{action}",
        "resource": schedule.name,
        "details": Jsonb({"display_name": schedule.content.display_name, **details}),
        "outcome": outcome,
    }
    await session.execute(QUERIES["record"], parameters)


def _failure_row(failure: Failure | None) -> Jsonb | None:
    return Jsonb(vars(failure)) if failure else None


def _schedule(row: DictRow) -> Schedule:
    task = NewTask(
        row["request_id"],
        row["instruction"],
        row["source"],
        tuple(TaskKind(kind) for kind in row["kinds"]),
        TaskPriority(row["priority"]),
        branch="" if row["delivers"] else None,
        ttl=row["ttl"],
    )
    return Schedule(
        schedule_id=row["schedule_id"],
        content=NewSchedule(
            row["display_name"], task, Cron(row["cron"], row["time_zone"]), MissedPolicy(row["missed_policy"])
        ),
        state=ScheduleState(row["state"]),
        principal=row["principal"],
        timer_id=row["timer_id"],
        next_fire_at=row["next_fire_at"],
        last_fire_at=row["last_fire_at"],
        last_task_id=row["last_task_id"],
        last_failure=Failure(**row["last_failure"]) if row["last_failure"] else None,
        revision=row["revision"],
        created_at=row["created_at"],
        updated_at=row["updated_at"],
    )
