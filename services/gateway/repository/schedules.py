"""A tenant's schedules, and what PostgreSQL lets their timers do."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from uuid import UUID

from psycopg.rows import DictRow
from psycopg.types.json import Jsonb

from morningai.db.queries import load_queries
from morningai.db.session import Session
from services.gateway.domain.schedules import (
    CommitTrigger,
    Cron,
    MissedPolicy,
    NewSchedule,
    Occasion,
    OverlapPolicy,
    Schedule,
    ScheduleState,
    Waiting,
    Watch,
)
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
        **_trigger_row(new.trigger),
        "missed_policy": new.missed_policy,
        "overlap_policy": new.overlap_policy,
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


async def newest_task_has_ended(session: Session, schedule: Schedule) -> bool:
    """It does not end until the session's transaction has."""
    row = await session.row(QUERIES["lock_newest_task"], {"task_id": schedule.newest_task_id})
    return row is None or row["ended_at"] is not None


async def set_waiting(session: Session, schedule_id: UUID, waiting: Waiting | None) -> None:
    parameters: dict[str, object] = {
        "schedule_id": schedule_id,
        "waiting_id": waiting and waiting.message_id,
        "waiting_since": waiting and waiting.occasion.time,
        "waiting_commit": waiting.occasion.commit if waiting else "",
    }
    await session.execute(QUERIES["set_waiting"], parameters)


async def set_check(session: Session, schedule_id: UUID, check_id: UUID) -> None:
    """The question to docs whose answer counts."""
    await session.execute(QUERIES["set_check"], {"schedule_id": schedule_id, "check_id": check_id})


async def settle_check(session: Session, schedule_id: UUID, check_id: UUID, commit: str) -> UUID | None:
    """The timer of a schedule that has a new commit now; None where there is nothing new."""
    parameters: dict[str, object] = {"schedule_id": schedule_id, "check_id": check_id, "commit": commit}
    return _hastened(await session.row(QUERIES["settle_check"], parameters))


async def fail_check(
    session: Session, schedule_id: UUID, check_id: UUID, failure: Failure, *, for_ever: bool
) -> UUID | None:
    """The timer of a schedule that has nothing to look at any more; None while the branch is to be asked for again."""
    parameters: dict[str, object] = {"schedule_id": schedule_id, "check_id": check_id, "hastens": for_ever}
    return _hastened(await session.row(QUERIES["fail_check"], parameters | {"failure": _failure_row(failure)}))


async def settle_commit(session: Session, schedule_id: UUID) -> None:
    """The commit that was found is fired for, or skipped; either way once."""
    await session.execute(QUERIES["settle_commit"], {"schedule_id": schedule_id})


async def list_waiting(session: Session, task_id: UUID) -> list[UUID]:
    """The held messages of firings that wait for the task to end."""
    return [row["waiting_id"] for row in await session.rows(QUERIES["list_waiting"], {"task_id": task_id})]


async def mark_skipped(session: Session, schedule_id: UUID, time: datetime, *, why: Failure) -> None:
    parameters: dict[str, object] = {"schedule_id": schedule_id, "time": time, "why": _failure_row(why)}
    await session.execute(QUERIES["mark_skipped"], parameters)


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


async def open_scheduled_task(session: Session, task_id: UUID) -> bool:
    """Of a schedule's own timer: False for a task that has ended."""
    row = await session.row(QUERIES["open_scheduled_task"], {"task_id": task_id})
    assert row is not None
    return bool(row["is_open"])


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


def _hastened(row: DictRow | None) -> UUID | None:
    return row["timer_id"] if row and row["hastens"] else None


def _trigger_row(trigger: Cron | CommitTrigger) -> dict[str, object]:
    if isinstance(trigger, Cron):
        return {"cron": trigger.expression, "time_zone": trigger.time_zone, "branch": None, "poll_seconds": None}
    seconds = round(trigger.poll_interval.total_seconds())
    return {"cron": None, "time_zone": None, "branch": trigger.branch, "poll_seconds": seconds}


def _trigger(row: DictRow) -> Cron | CommitTrigger:
    if row["cron"] is not None:
        return Cron(row["cron"], row["time_zone"])
    return CommitTrigger(row["branch"], timedelta(seconds=row["poll_seconds"]))


def _waiting(row: DictRow) -> Waiting | None:
    if row["waiting_id"] is None:
        return None
    return Waiting(row["waiting_id"], Occasion(row["waiting_since"], row["waiting_commit"]))


def _watch(row: DictRow) -> Watch:
    return Watch(
        settled=row["settled_commit"],
        found=row["found_commit"],
        check_id=row["check_id"],
        asked_at=row["asked_at"],
        checked_at=row["checked_at"],
        failed_checks=row["failed_checks"],
        failure=_failure(row["check_failure"]),
    )


def _failure_row(failure: Failure | None) -> Jsonb | None:
    return Jsonb(vars(failure)) if failure else None


def _failure(stored: Mapping[str, str] | None) -> Failure | None:
    return Failure(**stored) if stored else None


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
            row["display_name"],
            task,
            _trigger(row),
            MissedPolicy(row["missed_policy"]),
            OverlapPolicy(row["overlap_policy"]),
        ),
        state=ScheduleState(row["state"]),
        principal=row["principal"],
        timer_id=row["timer_id"],
        next_fire_at=row["next_fire_at"],
        last_fire_at=row["last_fire_at"],
        last_task_id=row["last_task_id"],
        newest_task_id=row["newest_task_id"],
        last_failure=_failure(row["last_failure"]),
        watch=_watch(row),
        waiting=_waiting(row),
        skipped_count=row["skipped_count"],
        last_skip_at=row["last_skip_at"],
        last_skip=_failure(row["last_skip"]),
        revision=row["revision"],
        created_at=row["created_at"],
        updated_at=row["updated_at"],
    )
