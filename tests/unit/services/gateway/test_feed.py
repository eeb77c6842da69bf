from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import cast
from uuid import UUID

import pytest

from morningai.api.tasks.v1 import tasks_pb2 as api
from morningai.db.session import Database, Session
from morningai.ending import end
from morningai.errors import Unauthenticated
from services.gateway.feed import LOOK_AGAIN_SECONDS, MOST_ARRIVED, PROGRESS_SECONDS, Feed

WATCHED, OTHER, TENANT = UUID(int=1), UUID(int=2), UUID(int=3)


RUNNING = api.TASK_STATE_RUNNING


def event(sequence: int, state: api.TaskState = RUNNING) -> api.TaskEvent:
    return api.TaskEvent(sequence=sequence, task_state=state)


class Kept:
    """A database with the events of one task, that tells how often it was looked into."""

    def __init__(self) -> None:
        self.events: list[api.TaskEvent] = []
        self.count = 0
        self.looked = asyncio.Event()

    @asynccontextmanager
    async def tenant_session(self, proof: str) -> AsyncIterator[Session]:
        self.count += 1
        yield cast(Session, self)
        self.looked.set()

    async def rows(self, query: str, parameters: dict[str, int]) -> list[dict[str, bytes]]:
        return [{"event": one.SerializeToString()} for one in self.events if one.sequence > parameters["after"]]

    async def row(self, query: str, parameters: object) -> None:
        return None


async def prove() -> str:
    return "a grant"


class Watching:
    """A watch that has looked once, and waits; what it gave is in `given`."""

    def __init__(self) -> None:
        self.feed, self.kept, self.given = Feed(), Kept(), asyncio.Queue[int]()
        self.task = asyncio.create_task(self._watch())

    async def _watch(self) -> None:
        async for one in self.feed.events(cast(Database, self.kept), prove, WATCHED, after=0):
            self.given.put_nowait(one.sequence)

    async def next(self) -> int:
        async with asyncio.timeout(LOOK_AGAIN_SECONDS / 5):
            return await self.given.get()


@pytest.fixture
async def watching() -> AsyncIterator[Watching]:
    watching = Watching()
    await watching.kept.looked.wait()
    yield watching
    watching.task.cancel()


async def test_an_event_that_arrived_is_given_without_a_look(watching: Watching) -> None:
    watching.feed.arrived(TENANT, WATCHED, event(1))
    assert await watching.next() == 1
    assert watching.kept.count == 1


async def test_events_that_arrive_out_of_order_are_given_in_order(watching: Watching) -> None:
    watching.feed.arrived(TENANT, WATCHED, event(2))
    await asyncio.sleep(0.01)
    watching.feed.arrived(TENANT, WATCHED, event(1))
    assert [await watching.next(), await watching.next()] == [1, 2]


async def test_an_event_that_waited_for_one_found_by_a_look_is_given_at_once(watching: Watching) -> None:
    watching.kept.events = [event(1)]
    watching.feed.arrived(TENANT, WATCHED, event(2))
    watching.feed.changed(WATCHED)
    assert [await watching.next(), await watching.next()] == [1, 2]


async def test_a_watch_looks_at_once_when_another_process_has_something(watching: Watching) -> None:
    watching.kept.events = [event(1)]
    watching.feed.changed(WATCHED)
    assert await watching.next() == 1


async def test_nothing_is_given_twice(watching: Watching) -> None:
    watching.feed.arrived(TENANT, WATCHED, event(1))
    assert await watching.next() == 1
    watching.kept.events = [event(1)]
    watching.feed.arrived(TENANT, WATCHED, event(1))
    watching.feed.arrived(TENANT, WATCHED, event(2))
    assert await watching.next() == 2
    assert watching.given.empty()


async def test_events_that_were_applied_together_are_given_without_a_look(watching: Watching) -> None:
    watching.feed.arrived(TENANT, WATCHED, event(1), event(2))
    assert [await watching.next(), await watching.next()] == [1, 2]
    assert watching.kept.count == 1


async def test_a_watch_ends_with_its_task(watching: Watching) -> None:
    watching.feed.arrived(TENANT, WATCHED, event(1, api.TASK_STATE_SUCCEEDED))
    async with asyncio.timeout(LOOK_AGAIN_SECONDS / 5):
        await watching.task


async def test_a_watcher_that_is_far_behind_finds_the_rest_in_the_tables(watching: Watching) -> None:
    every = [event(number + 1) for number in range(MOST_ARRIVED + 2)]
    watching.kept.events = every
    for one in every:
        watching.feed.arrived(TENANT, WATCHED, one)
    assert [await watching.next() for _ in every] == [one.sequence for one in every]


async def test_a_watch_does_not_look_for_the_events_of_other_tasks(watching: Watching) -> None:
    watching.feed.arrived(TENANT, OTHER, event(1))
    watching.feed.changed(OTHER)
    await asyncio.sleep(LOOK_AGAIN_SECONDS / 10)
    assert (watching.kept.count, watching.given.empty()) == (1, True)


async def test_a_watch_ends_when_its_key_is_revoked_though_nothing_happens() -> None:
    proofs = [True, True]

    async def prove_twice() -> str:
        if not proofs:
            raise Unauthenticated("The key is revoked.")
        proofs.pop()
        return "a grant"

    events = Feed().events(cast(Database, Kept()), prove_twice, WATCHED, after=0)
    with pytest.raises(Unauthenticated):
        async with asyncio.timeout(LOOK_AGAIN_SECONDS / 2):
            await anext(events)


async def test_a_watch_of_the_tenant_is_told_once_of_what_was_committed_here() -> None:
    feed = Feed()
    with feed.watching(TENANT) as watch, feed.watching(OTHER) as other:
        feed.arrived(TENANT, WATCHED, event(1))
        assert await watch.told(seconds=0.1)
        assert not await watch.told(seconds=0.01)
        assert not await other.told(seconds=0.01)


async def test_ticks_do_not_keep_a_watch_from_looking_again() -> None:
    feed, kept, tenant = Feed(), Kept(), UUID(int=7)
    given: asyncio.Queue[int] = asyncio.Queue()

    async def watch() -> None:
        async for one in feed.events(cast(Database, kept), prove, WATCHED, after=0, ticks_of=tenant):
            given.put_nowait(one.sequence)

    async def tick() -> None:
        while True:
            feed.ticked(tenant, WATCHED, api.TaskEvent(step=api.Step(step="answer")))
            await asyncio.sleep(0.1)

    watching = asyncio.create_task(watch())
    await kept.looked.wait()
    kept.events = [event(1)]
    ticking = asyncio.create_task(tick())
    async with asyncio.timeout(LOOK_AGAIN_SECONDS + 3):
        while await given.get() != 1:
            pass
    await end(watching, ticking)


def test_progress_that_was_said_long_ago_is_not_known() -> None:
    now = [100.0]
    feed, tenant = Feed(clock=lambda: now[0]), UUID(int=7)
    said = api.StepProgress(percent=40, stage="reading")
    feed.ticked(tenant, WATCHED, api.TaskEvent(step=api.Step(step="answer", progress=said)))
    assert feed.progress_of(tenant, WATCHED, "answer") == said
    assert feed.progress_of(OTHER, WATCHED, "answer") is None
    now[0] += PROGRESS_SECONDS + 1
    assert feed.progress_of(tenant, WATCHED, "answer") is None
