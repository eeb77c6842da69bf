"""Watching a task: its kept events in order, and the next ones as they arrive."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import takewhile
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
# Workers tell each second how far they are; one that has been silent for this long may be dead.
PROGRESS_SECONDS = 6.0
ENDED_VALUES = frozenset(api.TaskState.Value(f"TASK_STATE_{state.upper()}") for state in ENDED)


@dataclass(eq=False)
class Watch:
    """What one watcher has not taken yet: events that this process committed, by sequence. It is behind while there
    may be more in the tables."""

    arrived: dict[int, api.TaskEvent] = field(default_factory=dict)
    behind: bool = False
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    # Of whose ticks it takes the newest per step; None for nobody's.
    ticks_of: UUID | None = None
    ticks: dict[str, api.TaskEvent] = field(default_factory=dict)
    look_again_at: float | None = None

    def put(self, event: api.TaskEvent) -> None:
        if len(self.arrived) < MOST_ARRIVED:
            self.arrived[event.sequence] = event
            self.changed.set()
        else:
            self.look()

    def tick(self, tenant_id: UUID, tick: api.TaskEvent) -> None:
        if tenant_id == self.ticks_of:
            self.ticks[tick.step.step] = tick
            self.changed.set()

    def look(self) -> None:
        self.behind = True
        self.changed.set()

    async def following(self, sequence: int, prove: Callable[[], Awaitable[str]]) -> list[api.TaskEvent]:
        """Those that follow without a gap, or ticks; empty when it is time to look for them, however many ticks come.
        Raises what `prove` does."""
        clock = asyncio.get_running_loop().time
        give_up, self.look_again_at = self.look_again_at or clock() + LOOK_AGAIN_SECONDS, None
        while not await self._has(sequence + 1, seconds=PROVE_AGAIN_SECONDS):
            await prove()
            if clock() >= give_up:
                return []
        if sequence + 1 in self.arrived or self.behind or clock() >= give_up:
            return self._taken(sequence)
        self.look_again_at = give_up
        ticks, self.ticks = list(self.ticks.values()), {}
        return ticks

    async def told(self, *, seconds: float) -> bool:
        """Whether there may be more in the tables."""
        told = await self._has(NO_SEQUENCE, seconds=seconds)
        self.behind = False
        return told

    async def _has(self, sequence: int, *, seconds: float) -> bool:
        """Or there may be more in the tables, or is a tick."""
        try:
            async with asyncio.timeout(seconds):
                while sequence not in self.arrived and not self.behind and not self.ticks:
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

    def __init__(
        self, tell_others: Callable[[UUID, UUID], None] = lambda *_: None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._watches: dict[UUID, set[Watch]] = {}
        self._tell_others = tell_others
        self._clock = clock
        # What was said first comes first.
        self._progress: dict[tuple[UUID, UUID, str], tuple[float, api.StepProgress]] = {}

    def arrived(self, tenant_id: UUID, task_id: UUID, *events: api.TaskEvent) -> None:
        """Were applied and committed here."""
        for watch in self._watches.get(task_id, ()):
            for event in events:
                watch.put(event)
        self.changed(tenant_id)
        self._tell_others(task_id, tenant_id)

    def ticked(self, tenant_id: UUID, task_id: UUID, tick: api.TaskEvent) -> None:
        """A worker said how far its step is."""
        known, now = self._progress, self._clock()
        for old in list(takewhile(lambda key: known[key][0] < now - PROGRESS_SECONDS, known)):
            del known[old]
        known.pop((tenant_id, task_id, tick.step.step), None)
        known[tenant_id, task_id, tick.step.step] = now, tick.step.progress
        for watch in self._watches.get(task_id, ()):
            watch.tick(tenant_id, tick)

    def progress_of(self, tenant_id: UUID, task_id: UUID, step: str) -> api.StepProgress | None:
        """What was said of it just now; None when that is not known."""
        said_at, progress = self._progress.get((tenant_id, task_id, step), (0.0, None))
        return progress if said_at >= self._clock() - PROGRESS_SECONDS else None

    def changed(self, key: UUID) -> None:
        """The key is a task or a tenant."""
        for watch in self._watches.get(key, ()):
            watch.look()

    async def events(
        self,
        database: Database,
        prove: Callable[[], Awaitable[str]],
        task_id: UUID,
        *,
        after: int,
        ticks_of: UUID | None = None,
    ) -> AsyncIterator[api.TaskEvent]:
        """The task's events after a sequence number, without a gap, until the one that ends it, and between them the
        ticks of that tenant, if one is given.

        `prove` is asked again and again: a watch outlives a grant, and ends when the key is revoked.
        """
        with self.watching(task_id, ticks_of) as watch:
            arrived: list[api.TaskEvent] = []
            while True:
                proof = await prove()
                events = arrived or await _kept(database, proof, task_id, after=after)
                for event in events or ():
                    after = event.sequence or after
                    yield event
                    if event.task_state in ENDED_VALUES:
                        return
                if events is None:
                    return
                arrived = [] if len(events) == repository.MOST_EVENTS else await watch.following(after, prove)

    @contextmanager
    def watching(self, key: UUID, ticks_of: UUID | None = None) -> Iterator[Watch]:
        """A task or a tenant; with the tenant `ticks_of`, the ticks of its task, too."""
        watch, watches = Watch(ticks_of=ticks_of), self._watches.setdefault(key, set())
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
