"""Watching a tenant: its public events in one order, without a gap or a repeat, from any place that is still kept."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from uuid import UUID

from morningai.db.session import Database
from morningai.errors import FailedPrecondition
from services.gateway.domain.events import FeedEvent, FeedPage, FeedPlace, Wanted
from services.gateway.feed import LOOK_AGAIN_SECONDS, PROVE_AGAIN_SECONDS, Feed, Watch
from services.gateway.repository import events as repository

# However much happens, a watch asks PostgreSQL no more often; and more seldom while all it waits for is a transaction.
SHORTEST_PAUSE_SECONDS = 0.05
LONGEST_HELD_SECONDS = 0.5
# Of a watch that hears of nothing else: its place moves on, so that its token is not outlived by what is kept.
PLACE_SECONDS = 30.0
OLDEST_REMEDY = "Watch from the oldest event that is kept (from_oldest), and find what you missed with ListTasks."


@dataclass(frozen=True)
class Step:
    """The next event, or none where there is no further one yet, and the place after it."""

    place: FeedPlace
    event: FeedEvent | None = None


class EventFeed:
    def __init__(self, database: Database, feed: Feed) -> None:
        self._database = database
        self._feed = feed

    async def steps(
        self, prove: Callable[[], Awaitable[str]], tenant_id: UUID, wanted: Wanted, *, after: FeedPlace
    ) -> AsyncIterator[Step]:
        """Without end, unless a task is wanted, which ends. A step without an event comes once there is no more, then
        now and then.

        `prove` is asked again and again: a watch outlives a grant, and ends when the key is revoked. Raises
        FailedPrecondition for a place after which events are deleted.
        """
        loop = asyncio.get_running_loop()
        told_at, told, pause = float("-inf"), after, SHORTEST_PAUSE_SECONDS
        with self._feed.watching(tenant_id) as watch:
            while True:
                page = await self._page(await prove(), wanted, after=after)
                for event in page.events:
                    after = told = event.place
                    yield Step(after, event)
                if page.has_more:
                    continue
                after = max(after, page.ends.end)
                if loop.time() >= told_at + PLACE_SECONDS and (after > told or told_at < 0):
                    told_at, told = loop.time(), after
                    yield Step(after)
                if page.has_ended and not page.is_held:
                    return
                idle = page.is_held and not page.events
                pause = min(2 * pause, LONGEST_HELD_SECONDS) if idle else SHORTEST_PAUSE_SECONDS
                await asyncio.sleep(pause)
                if not page.is_held:
                    await _until_there_may_be_more(watch, prove)

    async def _page(self, proof: str, wanted: Wanted, *, after: FeedPlace) -> FeedPage:
        async with self._database.tenant_session(proof) as session:
            page = await repository.list_feed(session, wanted, after=after)
        if page.is_lost:
            raise FailedPrecondition("The token is of another life of this platform's database.", remedy=OLDEST_REMEDY)
        if after < page.ends.floor:
            raise FailedPrecondition("Events that followed this token are no longer kept.", remedy=OLDEST_REMEDY)
        return page


async def _until_there_may_be_more(watch: Watch, prove: Callable[[], Awaitable[str]]) -> None:
    """Raises what `prove` does."""
    give_up = asyncio.get_running_loop().time() + LOOK_AGAIN_SECONDS
    while not await watch.told(seconds=PROVE_AGAIN_SECONDS):
        await prove()
        if asyncio.get_running_loop().time() >= give_up:
            return
