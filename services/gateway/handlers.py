"""Applies the orchestrator's task events to the read model, in order, and keeps them as the feed and for webhooks;
fires schedules."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial, reduce
from typing import TypeAlias

from google.protobuf.message import Message

from morningai.api.events.v1 import events_pb2 as events
from morningai.api.tasks.v1 import tasks_pb2 as api
from morningai.bus.broker import Handlers
from morningai.bus.envelope import Envelope
from morningai.bus.handling import Group, Short
from morningai.db.session import Session
from morningai.errors import Poison
from services.gateway.domain.tasks import ENDED, apply_change, last_in_row
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


Received: TypeAlias = Sequence[tuple[Envelope, Message]]


def make_handlers(feed: Feed, wake_sender: Callable[[], None]) -> Handlers:
    async def on_task_events(session: Session, received: Received) -> None:
        task_id = received[0][0].task_id
        applied, has_webhooks = await keep_and_apply(session, received)
        if applied:
            session.after_commit.append(partial(feed.arrived, session.tenant_id, task_id, *applied))
        if has_webhooks and await insert_deliveries(session, received):
            session.after_commit.append(wake_sender)

    return {
        **dict.fromkeys(TASK_EVENTS, Group(on_task_events)),
        **SCHEDULE_HANDLERS,
    }


async def insert_deliveries(session: Session, received: Received) -> int:
    """To the tenant's webhook endpoints, each under its event's own id; returns how many."""
    count = 0
    for envelope, message in received:
        event_type = event_type_of(envelope.type)
        if event_type in FEED_TYPES:
            body = webhook_body(event_type, _event_of(message))
            count += await webhooks.insert_deliveries(session, event_id=envelope.id, event_type=event_type, body=body)
    return count


async def keep_and_apply(session: Session, received: Received) -> tuple[list[api.TaskEvent], bool]:
    """The events that were applied, and whether the tenant has webhooks.

    An event that arrives early is kept; the one it waited for applies both.
    """
    envelope = received[0][0]
    locked = await repository.lock_task(session, envelope.task_id)
    if locked is None:
        raise Poison(f"{envelope.type.short_name} {envelope.id} is about a task that was never accepted.")
    task, has_webhooks = locked
    new = [new_event_of(envelope, _event_of(message)) for envelope, message in received]
    kept = [api.TaskEvent.FromString(one) for one in await repository.insert_events(session, task, new)]
    last = last_in_row((event.sequence for event in kept), after=task.sequence)
    applied = [event for event in kept if event.sequence <= last]
    changed = reduce(apply_change, map(change_of, applied), task)
    if applied:
        await repository.update_task(session, changed)
    if {event.sequence for event in applied} - {event.sequence for event in new}:  # some waited for these
        await repository.place_events(session, task, last=last)
    if changed.state in ENDED and task.state not in ENDED:
        await release_waiting(session, changed.task_id)
    return applied, has_webhooks


def _event_of(message: Message) -> api.TaskEvent:
    event: api.TaskEvent = message.event  # type: ignore[attr-defined]  # every task event has this field
    return event
