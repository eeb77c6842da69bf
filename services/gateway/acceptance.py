"""Accepts a task, whoever asks for it: its row and TaskRequested in one transaction."""

from __future__ import annotations

from uuid import UUID

from morningai import telemetry
from morningai.api.events.v1 import events_pb2 as events
from morningai.bus import outbox
from morningai.db.session import Session
from morningai.rpc.time import timestamp
from services.gateway.domain.tasks import NewTask, Task
from services.gateway.messages import kind_values, priority_value
from services.gateway.repository import tasks as repository


async def accept_task(session: Session, new: NewTask, *, task_id: UUID) -> Task | None:
    """None when the request was accepted before. Raises QuotaExceeded: let it roll back."""
    task = await repository.insert_task(session, new, task_id=task_id, trace_id=telemetry.current_trace_id())
    if task is None:
        return None
    message = events.TaskRequested(
        instruction=new.instruction,
        source=new.source,
        kinds=kind_values(new.kinds),
        priority=priority_value(new.priority),
        branch=task.branch,
        base_commit=task.base_commit,
        expire_time=timestamp(task.expires_at),
    )
    await outbox.emit(session, message, task_id=task_id)
    return task
