from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import cast
from uuid import UUID

import pytest

from morningai.db.session import Database, Session
from services.gateway.feed import LOOK_AGAIN_SECONDS, Feed

WATCHED, OTHER = UUID(int=1), UUID(int=2)


class NoEvents:
    """A session of a tenant whose tasks have no events."""

    async def rows(self, query: str, parameters: object) -> list[object]:
        return []

    async def row(self, query: str, parameters: object) -> None:
        return None


class Looks:
    """A database that tells how often it was looked into."""

    def __init__(self) -> None:
        self.count = 0
        self.looked = asyncio.Event()

    @asynccontextmanager
    async def tenant_session(self, proof: str) -> AsyncIterator[Session]:
        self.count += 1
        self.looked.set()
        yield cast(Session, NoEvents())


async def prove() -> str:
    return "a grant"


@pytest.fixture
async def watch() -> AsyncIterator[tuple[Feed, Looks]]:
    """One that has looked once, and waits."""
    feed, looks = Feed(), Looks()
    events = feed.events(cast(Database, looks), prove, WATCHED, after=0)
    watching = asyncio.ensure_future(anext(events))
    await looks.looked.wait()
    looks.looked.clear()
    yield feed, looks
    watching.cancel()


async def test_a_watch_looks_at_once_when_an_event_of_its_task_was_kept(watch: tuple[Feed, Looks]) -> None:
    feed, looks = watch
    feed.pulse(WATCHED)
    async with asyncio.timeout(LOOK_AGAIN_SECONDS / 5):
        await looks.looked.wait()


async def test_a_watch_does_not_look_for_the_events_of_other_tasks(watch: tuple[Feed, Looks]) -> None:
    feed, looks = watch
    feed.pulse(OTHER)
    await asyncio.sleep(LOOK_AGAIN_SECONDS / 10)
    assert looks.count == 1
