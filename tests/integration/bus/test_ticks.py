"""How far work is reaches the watches of its own tenant over core NATS, and nobody else's."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from uuid import uuid4

import nats
import pytest

from morningai.api.events.v1 import events_pb2 as events
from morningai.api.tasks.v1 import tasks_pb2 as api
from morningai.bus.attempt import Work
from morningai.bus.catalogue import message_type
from morningai.bus.envelope import Envelope
from morningai.bus.permissions import inbox_prefix
from morningai.bus.subjects import progress_subject
from morningai.bus.ticks import TYPE, hear_ticks, send_tick
from services.gateway.feed import Feed
from tests.conftest import PASSWORD

TENANT, OTHER, TASK = uuid4(), uuid4(), uuid4()


@asynccontextmanager
async def connected(nats_url, service):
    prefix = inbox_prefix(service).encode()
    client = await nats.connect(nats_url, user=service, password=PASSWORD, inbox_prefix=prefix)
    yield client
    await client.close()


@pytest.fixture
async def feed(nats_url):
    """As a gateway wires it."""
    feed = Feed()
    async with connected(nats_url, "gateway") as client:
        await hear_ticks(client, feed.ticked)
        await client.flush()
        yield feed


@pytest.fixture
async def worker(nats_url):
    async with connected(nats_url, "docs") as client:
        yield client


def work_of(tenant_id=TENANT, *, body=events.IndexSource, fraction=0.4, detail="reading 40 files"):
    envelope = Envelope(uuid4(), message_type(body), "orchestrator", tenant_id, TASK, "", "", b"")
    work = Work(None, envelope, envelope.id, 1)
    if detail:
        work.progress(fraction, detail)
    return work


class Kept:
    """A task without events."""

    @asynccontextmanager
    async def tenant_session(self, proof):
        yield self

    async def rows(self, query, parameters):
        return []

    async def row(self, query, parameters):
        return None


async def prove():
    return "a grant"


@asynccontextmanager
async def watching(feed, ticks_of):
    """What the watch was given so far."""
    given = []

    async def watch():
        async for event in feed.events(Kept(), prove, TASK, after=0, ticks_of=ticks_of):
            given.append(event)

    task = asyncio.create_task(watch())
    await asyncio.sleep(0.1)
    yield given
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


async def test_a_watch_hears_how_far_its_task_is(feed, worker, eventually):
    async with watching(feed, TENANT) as given:
        await send_tick(worker, "docs", work_of())
        await eventually(lambda: given)
    (tick,) = given
    assert (tick.sequence, tick.type, tick.task) == (0, TYPE, f"tasks/{TASK}")
    assert (tick.step.step, tick.step.service) == ("index", "docs")
    assert tick.step.progress == api.StepProgress(percent=40, stage="reading 40 files")
    assert feed.progress_of(TENANT, TASK, "index") == tick.step.progress


async def test_a_watch_of_another_tenant_or_that_did_not_ask_hears_nothing(feed, worker, eventually):
    async with watching(feed, OTHER) as others, watching(feed, None) as unasked, watching(feed, TENANT) as given:
        await send_tick(worker, "docs", work_of())
        await eventually(lambda: given)
        await asyncio.sleep(0.2)
    assert (others, unasked) == ([], [])
    assert feed.progress_of(OTHER, TASK, "index") is None


async def test_another_tenant_s_work_on_a_task_of_the_same_id_is_not_told(feed, worker, eventually):
    async with watching(feed, TENANT) as given, watching(feed, OTHER) as others:
        await send_tick(worker, "docs", work_of(OTHER))
        await eventually(lambda: others)
        await asyncio.sleep(0.2)
    assert given == []


async def test_work_that_said_nothing_sends_nothing(feed, worker):
    await send_tick(worker, "docs", work_of(detail=""))
    await worker.flush()
    await asyncio.sleep(0.2)
    assert feed.progress_of(TENANT, TASK, "index") is None


async def test_what_is_no_tick_is_passed_over(feed, worker, eventually):
    subject = progress_subject("docs", TENANT)
    await worker.publish(subject, b"\xff")
    await worker.publish(subject, api.TaskEvent(task="tasks/none").SerializeToString())
    await send_tick(worker, "docs", work_of())
    await eventually(lambda: feed.progress_of(TENANT, TASK, "index"))
