"""ScheduleService: a tenant's schedules; firing them is the bus's part."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID, uuid4

import grpc

from morningai.api.schedules.v1 import schedules_pb2 as api
from morningai.api.schedules.v1 import schedules_pb2_grpc
from morningai.db.session import Database, Session
from morningai.errors import Conflict, FailedPrecondition, InvalidInput, NotFound
from morningai.rpc.call import Context, rpc_session
from morningai.rpc.pages import page_limit, page_of, read_token, write_token
from services.gateway import firing
from services.gateway.domain.schedules import MOST_SCHEDULES, Cron, NewSchedule, Schedule, ScheduleState
from services.gateway.grpc_api.task_sources import TaskSources
from services.gateway.repository import schedules as repository
from services.gateway.schedule_messages import new_schedule_of, schedule_message

LARGEST_PAGE = 200
REMEDY = "`schedule list` shows the schedules of your tenant."


class ScheduleServicer(schedules_pb2_grpc.ScheduleServiceServicer):
    def __init__(self, database: Database, *, docs: grpc.aio.Channel) -> None:
        self._database = database
        self._task_sources = TaskSources(docs)

    async def CreateSchedule(self, request: api.CreateScheduleRequest, context: Context) -> api.Schedule:
        new = new_schedule_of(request, now=datetime.now(UTC))
        await self._task_sources.check(new.task, context, field="schedule.task")
        async with rpc_session(self._database) as session:
            schedule_id = uuid4()
            if not await repository.insert_schedule(session, schedule_id, new):
                return schedule_message(_same(await repository.get_schedule_of_request(session, new.request_id), new))
            if await repository.count_schedules(session) > MOST_SCHEDULES:
                raise FailedPrecondition(
                    f"The tenant has {MOST_SCHEDULES} schedules.", remedy="Delete one that is not needed."
                )
            schedule = await _get(session, f"schedules/{schedule_id}")
            await firing.start(session, schedule)
            await repository.record(session, "create", schedule, _details(new))
            return schedule_message(await _get(session, schedule.name))

    async def GetSchedule(self, request: api.GetScheduleRequest, context: Context) -> api.Schedule:
        async with rpc_session(self._database) as session:
            return schedule_message(await _get(session, request.name))

    async def ListSchedules(self, request: api.ListSchedulesRequest, context: Context) -> api.ListSchedulesResponse:
        limit = page_limit(request.page_size, most=LARGEST_PAGE)
        before = read_token(request.page_token, "schedules", _key)
        async with rpc_session(self._database) as session:
            schedules = await repository.list_schedules(session, before=before, limit=limit + 1)
        page = page_of(map(schedule_message, schedules), limit)
        token = write_token("schedules", *schedules[len(page) - 1].key) if len(page) < len(schedules) else ""
        return api.ListSchedulesResponse(schedules=page, next_page_token=token)

    async def PauseSchedule(self, request: api.PauseScheduleRequest, context: Context) -> api.Schedule:
        async with rpc_session(self._database) as session:
            schedule = await _lock(session, request.name, etag=request.etag)
            if schedule.state is ScheduleState.ACTIVE:
                await firing.withdraw(session, schedule)
                await repository.pause_schedule(session, schedule.schedule_id, failure=None)
                await repository.record(session, "pause", schedule, {})
            return schedule_message(await _get(session, request.name))

    async def ResumeSchedule(self, request: api.ResumeScheduleRequest, context: Context) -> api.Schedule:
        async with rpc_session(self._database) as session:
            schedule = await _lock(session, request.name, etag=request.etag)
            if schedule.state is ScheduleState.PAUSED:
                await repository.resume_schedule(session, schedule.schedule_id)
                await firing.start(session, schedule)
                await repository.record(session, "resume", schedule, {})
            return schedule_message(await _get(session, request.name))

    async def DeleteSchedule(self, request: api.DeleteScheduleRequest, context: Context) -> api.DeleteScheduleResponse:
        async with rpc_session(self._database) as session:
            schedule = await _lock(session, request.name, etag=request.etag)
            await firing.withdraw(session, schedule)
            await repository.delete_schedule(session, schedule.schedule_id)
            await repository.record(session, "delete", schedule, {})
        return api.DeleteScheduleResponse()


async def _get(session: Session, name: str) -> Schedule:
    schedule = await repository.get_schedule(session, _schedule_id(name))
    if schedule is None:
        raise NotFound("schedule", name, remedy=REMEDY)
    return schedule


async def _lock(session: Session, name: str, *, etag: str) -> Schedule:
    """Raises NotFound, or Conflict for one that changed since it was read."""
    schedule = await repository.lock_schedule(session, _schedule_id(name))
    if schedule is None:
        raise NotFound("schedule", name, remedy=REMEDY)
    if etag and etag != schedule.etag:
        raise Conflict(f"{name} has changed since it was read.", remedy="Read it again, then decide.")
    return schedule


def _same(schedule: Schedule, new: NewSchedule) -> Schedule:
    """A repeated request gives the same schedule; the same id with other content is a mistake of the caller."""
    if schedule.content != new:
        raise InvalidInput("request_id", "was used for another schedule.", remedy="Send a new UUID.")
    return schedule


def _details(new: NewSchedule) -> dict[str, object]:
    trigger = new.trigger
    if isinstance(trigger, Cron):
        return {"source": new.task.source, "cron": trigger.expression, "time_zone": trigger.time_zone}
    return {"source": new.task.source, "branch": trigger.branch}


def _schedule_id(name: str) -> UUID:
    try:
        return UUID(name.removeprefix("schedules/"))
    except ValueError as error:
        raise NotFound("schedule", name, remedy=REMEDY) from error


def _key(time: str, schedule_id: str) -> tuple[datetime, UUID]:
    return datetime.fromisoformat(time).astimezone(UTC), UUID(schedule_id)
