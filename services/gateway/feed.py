"""Watching a task: its kept events in order, and the next ones as they arrive."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from uuid import UUID
from weakref import WeakValueDictionary

from morningai.api.tasks.v1 import tasks_pb2 as api
from morningai.db.session import Database
from services.gateway.domain.tasks import ENDED, TaskState
from services.gateway.repository import tasks as repository

# Another replica may have applied the event: look again after this long without a pulse.
LOOK_AGAIN_SECONDS = 0.5
ENDED_VALUES = frozenset(api.TaskState.Value(f"TASK_STATE_{state.upper()}") for state in ENDED)


class Feed:
    """Wakes a task's watchers in this process when an event of it was committed."""

    def __init__(self) -> None:
        # The watchers keep them.
        self._changed: WeakValueDictionary[UUID, asyncio.Event] = WeakValueDictionary()

    def pulse(self, task_id: UUID) -> None:
        changed = self._changed.pop(task_id, None)
        if changed is not None:
            changed.set()

    async def events(
        self, database: Database, prove: Callable[[], Awaitable[str]], task_id: UUID, *, after: int
    ) -> AsyncIterator[api.TaskEvent]:
        """The task's events after a sequence number, without a gap, until the one that ends it.

        `prove` is asked again and again: a watch outlives a grant, and ends when the key is revoked.
        """
        while True:
            changed = self._changed.setdefault(task_id, asyncio.Event())
            async with database.tenant_session(await prove()) as session:
                kept = await repository.list_events(session, task_id, after=after)
                task = None if kept else await repository.get_task(session, task_id)
            for stored in kept:
                event = api.TaskEvent.FromString(stored)
                if event.sequence != after + 1:
                    break
                after = event.sequence
                yield event
                if event.task_state in ENDED_VALUES:
                    return
            if task and TaskState(task.state) in ENDED and task.sequence <= after:
                return
            if len(kept) < repository.MOST_EVENTS:
                await _wait(changed)


async def _wait(changed: asyncio.Event) -> None:
    try:
        async with asyncio.timeout(LOOK_AGAIN_SECONDS):
            await changed.wait()
    except TimeoutError:
        return
