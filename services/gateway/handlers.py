"""Applies the orchestrator's task events to the read model, in order, and keeps them as the feed and for webhooks;
fires schedules."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from google.protobuf.message import Message

from morningai.api.events.v1 import events_pb2 as events
from morningai.api.tasks.v1 import tasks_pb2 as api
from morningai.bus.broker import Handlers
from morningai.bus.envelope import Envelope
from morningai.bus.handling import Short
from morningai.db.session import Session
from morningai.errors import Poison
from services.gateway.domain.tasks import ENDED, apply_change
from services.gateway.feed import Feed
from services.gateway.firing import on_fire_waiting, on_schedule_due, on_source_checked, release_waiting
from services.gateway.messages import FEED_TYPES, change_of, event_type_of, new_event_of, webhook_body
from services.gateway.repository import tasks as repository
from services.gateway.repository import webhooks

TASK_EVENTS: tuple[type[Message], ...] = (
    events.TaskStarted,
    events.TaskStepChanged,
    events.TaskSucceeded,
    events.TaskPartlySucceeded,
    events.TaskFailed,
    events.TaskCancelled,
    events.TaskExpired,
    events.TaskWaitingForApproval,
    events.TaskApproved,
    events.TaskRejected,
    events.TaskApprovalExpired,
    events.TaskApprovalDelegated,
)
SCHEDULE_HANDLERS: Handlers = {
    events.ScheduleDue: Short(on_schedule_due),
    events.FireWaiting: Short(on_fire_waiting),
    events.SourceChecked: Short(on_source_checked),
}


def make_handlers(feed: Feed, wake_sender: Callable[[], None]) -> Handlers:
    async def on_task_event(session: Session, envelope: Envelope, message: Message) -> None:
        await keep_and_apply(session, envelope, message)
        event = message.event  # type: ignore[attr-defined]  # every task event has this field
        session.after_commit.append(partial(feed.arrived, session.tenant_id, envelope.task_id, event))
        if await insert_deliveries(session, envelope, message):
            session.after_commit.append(wake_sender)

    return {
        **{kind: Short(on_task_event) for kind in TASK_EVENTS},
        **SCHEDULE_HANDLERS,
    }


async def insert_deliveries(session: Session, envelope: Envelope, message: Message) -> int:
    """To the tenant's webhook endpoints, under the event's own id; returns how many."""
    event_type = event_type_of(envelope.type)
    if event_type not in FEED_TYPES:
        return 0
    body = webhook_body(event_type, message.event)  # type: ignore[attr-defined]  # every task event has this field
    return await webhooks.insert_deliveries(session, event_id=envelope.id, event_type=event_type, body=body)


async def keep_and_apply(session: Session, envelope: Envelope, message: Message) -> None:
    """An event that arrives early is kept; the one it waited for applies both."""
    event: api.TaskEvent = message.event  # type: ignore[attr-defined]  # every task event has this field
    task = await repository.lock_task(session, envelope.task_id)
    if task is None:
        raise Poison(f"{envelope.type.short_name} {envelope.id} is about a task that was never accepted.")
    waiting = await repository.insert_event(session, task, new_event_of(envelope, event))
    applied = task
    for kept in waiting:
        change = change_of(api.TaskEvent.FromString(kept))
        if change.sequence != applied.sequence + 1:
            break
        applied = apply_change(applied, change)
    if applied is not task:
        await repository.update_task(session, applied)
        if not applied.sequence == event.sequence == task.sequence + 1:
            await repository.place_events(session, task, last=applied.sequence)
    if applied.state in ENDED and task.state not in ENDED:
        await release_waiting(session, applied.task_id)
