"""Schedules as the handlers meet them: made, their messages delivered by hand, their tasks ended."""

from __future__ import annotations

from uuid import UUID, uuid4

from morningai.api.events.v1 import events_pb2 as events
from morningai.api.tasks.v1 import tasks_pb2 as tasks
from morningai.bus.catalogue import BY_NAME, message_type
from morningai.bus.envelope import Envelope
from services.gateway import firing
from services.gateway.domain.schedules import Cron, Firing, MissedPolicy, NewSchedule, OverlapPolicy
from services.gateway.domain.tasks import NewTask, TaskKind
from services.gateway.handlers import SCHEDULE_HANDLERS, keep_and_apply
from services.gateway.repository import schedules as repository

HOURLY = Cron("0 * * * *", "UTC")
CONSUMER = "gateway-control"
MESSAGE = """
SELECT o.id, o.task_id, o.seal, o.type, o.body FROM gateway.outbox AS o
JOIN gateway.schedules AS s ON s.tenant_id = o.tenant_id AND s.{} = o.id WHERE s.schedule_id = %s
"""
REQUESTED = "SELECT seal FROM gateway.outbox WHERE task_id = %s AND type LIKE '%%.TaskRequested'"
TASKS = "SELECT task_id, principal, instruction FROM gateway.tasks WHERE tenant_id = %s ORDER BY created_at"


async def made_schedule(gateway, tenant, *, policy=MissedPolicy.SKIP, trigger=HOURLY, overlap=OverlapPolicy.ALLOW):
    task = NewTask(uuid4(), "what is new?", "sources/small", (TaskKind.ANSWER,))
    schedule_id = uuid4()
    async with gateway.tenant_session(tenant.grant()) as session:
        await repository.insert_schedule(session, schedule_id, NewSchedule("news", task, trigger, policy, overlap))
        await firing.start(session, await repository.get_schedule(session, schedule_id))
    return schedule_id


async def read(gateway, tenant, schedule_id):
    async with gateway.tenant_session(tenant.grant()) as session:
        return await repository.get_schedule(session, schedule_id)


def timer_of(database, schedule_id, column="timer_id"):
    ((message_id, task_id, seal, name, body),) = database.rows(MESSAGE.format(column), schedule_id)
    tenant_id = seal.split("|")[2]
    return Envelope(message_id, BY_NAME[name], "gateway", UUID(tenant_id), task_id, seal, "", bytes(body))


def waiting_of(database, schedule_id):
    return timer_of(database, schedule_id, "waiting_id")


def check_of(database, schedule_id):
    """The question to docs that is not answered yet."""
    return timer_of(database, schedule_id, "check_id")


async def due_since(gateway, tenant, schedule_id, time, *, caught_up=0):
    """The timer as if it had been set for that time, and only now came."""
    async with gateway.tenant_session(tenant.grant()) as session:
        schedule = await repository.get_schedule(session, schedule_id)
        await firing.set_timer(session, schedule, Firing(time, caught_up))


async def deliver(gateway, envelope):
    await SCHEDULE_HANDLERS[envelope.type.body](gateway, envelope, consumer=CONSUMER)


async def fire(gateway, database, schedule_id):
    await deliver(gateway, timer_of(database, schedule_id))


def tasks_of(database, tenant):
    return database.rows(TASKS, tenant.tenant_id)


async def end_task(gateway, database, task_id, *, before_commit=None):
    """As its last event does."""
    ((seal,),) = database.rows(REQUESTED, task_id)
    event = tasks.TaskEvent(task=f"tasks/{task_id}", sequence=1, task_state=tasks.TASK_STATE_SUCCEEDED)
    message = events.TaskSucceeded(event=event)
    async with gateway.tenant_session(seal) as session:
        entry = message_type(events.TaskSucceeded)
        envelope = Envelope(uuid4(), entry, "orchestrator", session.tenant_id, task_id, seal, "", b"")
        await keep_and_apply(session, [(envelope, message)])
        if before_commit:
            await before_commit()
