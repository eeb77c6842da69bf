"""Replicas of a gateway tell one another of what they commit, and a watch at another one does not wait for its look."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from uuid import uuid4

import nats
import pytest

from morningai.api.tasks.v1 import tasks_pb2 as api
from morningai.bus.permissions import inbox_prefix
from morningai.bus.pulses import Pulses
from services.gateway.feed import LOOK_AGAIN_SECONDS, Feed
from tests.conftest import PASSWORD

TENANT, TASK = uuid4(), uuid4()
SOON_SECONDS = LOOK_AGAIN_SECONDS / 2


@asynccontextmanager
async def replica(nats_url):
    """Its feed, wired as the gateway wires it."""
    prefix = inbox_prefix("gateway").encode()
    client = await nats.connect(nats_url, user="gateway", password=PASSWORD, inbox_prefix=prefix)
    pulses = Pulses("gateway")
    feed = Feed(tell_others=pulses.send)
    pulses.on_pulse = feed.changed
    await pulses.start(client)
    await client.flush()
    yield feed
    await client.close()


class Kept:
    """The tables that both replicas read."""

    def __init__(self):
        self.events, self.looks = [], 0

    @asynccontextmanager
    async def tenant_session(self, proof):
        self.looks += 1
        yield self

    async def rows(self, query, parameters):
        return [{"event": one.SerializeToString()} for one in self.events if one.sequence > parameters["after"]]

    async def row(self, query, parameters):
        return None


async def prove():
    return "a grant"


@pytest.fixture
async def replicas(nats_url):
    async with replica(nats_url) as first, replica(nats_url) as second:
        yield first, second


async def test_a_watch_hears_at_once_of_what_another_replica_committed(replicas, eventually):
    first, second = replicas
    kept = Kept()
    events = second.events(kept, prove, TASK, after=0)
    next_event = asyncio.ensure_future(anext(events))
    await eventually(lambda: kept.looks == 1)
    kept.events = [api.TaskEvent(sequence=1)]
    first.arrived(TENANT, TASK, kept.events[0])
    async with asyncio.timeout(SOON_SECONDS):
        assert (await next_event).sequence == 1
    await events.aclose()


async def test_a_watch_of_the_tenant_hears_at_once_of_what_another_replica_committed(replicas):
    first, second = replicas
    with second.watching(TENANT) as watch, second.watching(uuid4()) as other:
        first.arrived(TENANT, TASK, api.TaskEvent(sequence=1))
        assert await watch.told(seconds=SOON_SECONDS)
        assert not await other.told(seconds=0.1)


async def test_a_replica_does_not_look_for_what_it_said_itself(replicas, eventually):
    first, _ = replicas
    kept = Kept()
    events = first.events(kept, prove, TASK, after=0)
    next_event = asyncio.ensure_future(anext(events))
    await eventually(lambda: kept.looks == 1)
    first.arrived(TENANT, TASK, api.TaskEvent(sequence=1))
    assert (await next_event).sequence == 1
    following = asyncio.ensure_future(anext(events))
    await asyncio.sleep(0.5)
    assert kept.looks == 1
    following.cancel()
    await asyncio.gather(following, return_exceptions=True)
