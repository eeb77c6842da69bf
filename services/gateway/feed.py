"""Watching a task: its kept events in order, and the next ones as they arrive."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from uuid import UUID

from morningai.api.tasks.v1 import tasks_pb2 as api
from morningai.db.session import Database
from services.gateway.domain.tasks import ENDED, TaskState
from services.gateway.repository import tasks as repository

# Whoever said that there is something new may not have been heard: look again after this long.
LOOK_AGAIN_SECONDS = 5.0
# A key may have been revoked meanwhile.
PROVE_AGAIN_SECONDS = 0.5
# A watcher that is behind by more finds its events in the tables.
MOST_ARRIVED = 200
NO_SEQUENCE = 0
ENDED_VALUES = frozenset(api.TaskState.Value(f"TASK_STATE_{state.upper()}") for state in ENDED)


@dataclass(eq=False)
class Watch:
    """What one watcher has not taken yet: events that this process committed, by sequence. It is behind while there
    may be more in the tables."""

    arrived: dict[int, api.TaskEvent] = field(default_factory=dict)
    behind: bool = False
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def put(self, event: api.TaskEvent) -> None:
        if len(self.arrived) < MOST_ARRIVED:
            self.arrived[event.sequence] = event
            self.changed.set()
        else:
            self.look()

    def look(self) -> None:
        self.behind = True
        self.changed.set()

    async def following(self, sequence: int, prove: Callable[[], Awaitable[str]]) -> list[api.TaskEvent]:
        """Those that follow without a gap; empty when it is time to look for them. Raises what `prove` does."""
        give_up = asyncio.get_running_loop().time() + LOOK_AGAIN_SECONDS
        while not await self._has(sequence + 1, seconds=PROVE_AGAIN_SECONDS):
            await prove()
            if asyncio.get_running_loop().time() >= give_up:
                return []
        return self._taken(sequence)

    async def told(self, *, seconds: float) -> bool:
        """Whether there may be more in the tables."""
        told = await self._has(NO_SEQUENCE, seconds=seconds)
        self.behind = False
        return told

    async def _has(self, sequence: int, *, seconds: float) -> bool:
        """Or there may be more in the tables."""
        try:
            async with asyncio.timeout(seconds):
                while sequence not in self.arrived and not self.behind:
                    self.changed.clear()
                    await self.changed.wait()
        except TimeoutError:
            return False
        return True

    def _taken(self, sequence: int) -> list[api.TaskEvent]:
        found: list[api.TaskEvent] = []
        while event := self.arrived.get(sequence + 1 + len(found)):
            found.append(event)
        self.arrived = {number: event for number, event in self.arrived.items() if number > sequence + len(found)}
        self.behind = self.behind and bool(found)
        return found


class Feed:
    """Brings a task's watchers in this process what it commits, tells those of the tenant that there is something, and
    the other processes."""

    def __init__(self, tell_others: Callable[[UUID, UUID], None] = lambda *_: None) -> None:
        self._watches: dict[UUID, set[Watch]] = {}
        self._tell_others = tell_others

    def arrived(self, tenant_id: UUID, task_id: UUID, event: api.TaskEvent) -> None:
        """Was committed here."""
        for watch in self._watches.get(task_id, ()):
            watch.put(event)
        self.changed_elsewhere(tenant_id)
        self._tell_others(task_id, tenant_id)

    def changed_elsewhere(self, key: UUID) -> None:
        """The key is a task or a tenant."""
        for watch in self._watches.get(key, ()):
            watch.look()

    async def events(
        self, database: Database, prove: Callable[[], Awaitable[str]], task_id: UUID, *, after: int
    ) -> AsyncIterator[api.TaskEvent]:
        """The task's events after a sequence number, without a gap, until the one that ends it.

        `prove` is asked again and again: a watch outlives a grant, and ends when the key is revoked.
        """
        with self.watching(task_id) as watch:
            arrived: list[api.TaskEvent] = []
            while True:
                proof = await prove()
                events = arrived or await _kept(database, proof, task_id, after=after)
                for event in events or ():
                    after = event.sequence
                    yield event
                    if event.task_state in ENDED_VALUES:
                        return
                if events is None:
                    return
                arrived = [] if len(events) == repository.MOST_EVENTS else await watch.following(after, prove)

    @contextmanager
    def watching(self, key: UUID) -> Iterator[Watch]:
        """A task or a tenant."""
        watch, watches = Watch(), self._watches.setdefault(key, set())
        watches.add(watch)
        try:
            yield watch
        finally:
            watches.remove(watch)
            if not watches:
                del self._watches[key]


async def _kept(database: Database, proof: str, task_id: UUID, *, after: int) -> list[api.TaskEvent] | None:
    """The next events without a gap; None when the task has ended and there are no more."""
    async with database.tenant_session(proof) as session:
        stored = await repository.list_events(session, task_id, after=after)
        task = None if stored else await repository.get_task(session, task_id)
    if task and TaskState(task.state) in ENDED and task.sequence <= after:
        return None
    events = [api.TaskEvent.FromString(one) for one in stored]
    return [event for number, event in enumerate(events) if event.sequence == after + 1 + number]
