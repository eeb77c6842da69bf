"""A replica of two is asked to stop (SIGTERM): it ends what is short, gives the other what is long, and ends well."""

from __future__ import annotations

import asyncio
import signal

import pytest

from morningai.api.events.v1 import events_pb2 as events
from tests.conftest import make_consumers
from tests.integration.bus.test_settle import SNAPSHOT, orchestrator, send

# Long enough that what happens in time did not happen because the lease ended.
SETTINGS = {"MORNINGAI_LEASE_SECONDS": "60"}
LEASES = "SELECT state, attempt, failures, excused FROM codegen.leases"
CONNECTED = "SELECT 1 FROM pg_stat_activity WHERE usename = 'codegen_app' AND datname = current_database()"
# Until the other one's claim, which writes the timer of its lease; by PostgreSQL's clock.
HANDED_OVER = """
SELECT extract(epoch FROM o.created_at - %s)::float
FROM codegen.leases AS l JOIN codegen.outbox AS o ON o.id = l.timer_id WHERE l.attempt = 2
"""


@pytest.fixture
async def sender(start_service):
    sender = await start_service("orchestrator", orchestrator())
    await make_consumers("codegen", sender.settings)
    return sender


async def stopped(worker):
    worker.process.send_signal(signal.SIGTERM)
    return await asyncio.to_thread(worker.process.wait, 20)


async def test_long_work_of_a_stopping_replica_goes_on_at_once_at_the_other(
    sender, workers, tenant, database, eventually
):
    await workers.start("first", **SETTINGS)
    await send(sender, tenant, events.GenerateChange(instruction="600 0", snapshot=SNAPSHOT))
    await workers.hears("working first")
    await workers.start("second", **SETTINGS)
    [(asked_at,)] = database.rows("SELECT clock_timestamp()")
    assert await stopped(workers.named("first")) == 0
    await eventually(lambda: database.rows(LEASES) == [("finished", 2, 0, 1)])
    [(seconds,)] = database.rows(HANDED_OVER, asked_at)
    assert seconds < 5
    assert workers.said() == ["working first 1", "working second 2"]


async def test_a_short_handler_of_a_stopping_replica_comes_to_its_end(sender, workers, tenant, database, eventually):
    await workers.start("first")
    await send(sender, tenant, events.CancelWork(command_ids=["2"]))
    await workers.hears("cancelling first")
    assert await stopped(workers.named("first")) == 0
    assert workers.said() == ["cancelling first", "cancelled first"]
    assert len(database.rows("SELECT 1 FROM codegen.inbox")) == 1


async def test_a_handler_that_does_not_end_holds_up_the_stop_for_its_bound_alone(sender, workers, tenant, database):
    await workers.start("first", MORNINGAI_DRAIN_SECONDS="1")
    await send(sender, tenant, events.CancelWork(command_ids=["3600"]))
    await workers.hears("cancelling first")
    assert await stopped(workers.named("first")) == 0
    assert database.rows("SELECT 1 FROM codegen.inbox") == []


async def test_a_stopping_replica_leaves_messages_that_come_to_the_other(sender, workers, tenant, database, eventually):
    await workers.start("first", **SETTINGS)
    await workers.start("second", **SETTINGS)
    for _ in range(20):
        await send(sender, tenant, events.GenerateChange(instruction="0.2 0.2", snapshot=SNAPSHOT))
    await workers.hears("working first")
    assert await stopped(workers.named("first")) == 0
    await eventually(lambda: len(database.rows("SELECT 1 FROM codegen.leases WHERE state = 'finished'")) == 20)
    assert database.rows("SELECT max(failures) FROM codegen.leases") == [(0,)]


async def test_a_service_that_waits_for_its_consumers_stops_when_it_is_asked_to(workers, database, eventually):
    worker = workers.launch("first")
    await eventually(lambda: database.rows(CONNECTED), seconds=30)
    await asyncio.sleep(1)
    assert await stopped(worker) == 0
