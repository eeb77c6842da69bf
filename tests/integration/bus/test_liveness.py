"""The health check follows what the loops of a process truly do."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager

import psycopg
import pytest

from morningai.api.events.v1 import events_pb2 as events
from morningai.bus.work import Long
from tests.conftest import make_consumers
from tests.integration.bus.test_settle import SNAPSHOT, codegen, ignore, orchestrator, send

QUICK = {"MORNINGAI_STUCK_SECONDS": "3"}


@pytest.fixture
async def sender(start_service):
    sender = await start_service("orchestrator", orchestrator())
    await make_consumers("codegen", sender.settings)
    return sender


async def becomes(worker, state):
    for _ in range(100):
        if await worker.health() == state:
            return
        await asyncio.sleep(0.2)
    raise AssertionError(f"{worker.name} does not become {state}")


@contextmanager
def locked(database, table):
    with psycopg.connect(database.admin_dsn) as connection:
        connection.execute(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE")
        yield


async def test_a_service_with_nothing_to_do_is_well(sender, workers):
    worker = await workers.start("first", **QUICK)
    for _ in range(40):
        assert await worker.health() == "SERVING"
        await asyncio.sleep(0.2)


async def test_a_service_whose_relay_is_stuck_does_not_serve_until_it_passes_again(sender, workers, database):
    worker = await workers.start("first", MORNINGAI_STUCK_SECONDS="10")
    with locked(database, "codegen.outbox"):
        await becomes(worker, "NOT_SERVING")
    await becomes(worker, "SERVING")
    assert "service.loops.stuck" in workers.log("first")


async def test_a_service_whose_handler_stays_stuck_ends(sender, workers, tenant):
    worker = await workers.start("first", **QUICK)
    await send(sender, tenant, events.CancelWork(command_ids=["3600"]))
    await workers.hears("cancelling first")
    assert await asyncio.to_thread(worker.process.wait, 60) == 1
    assert "service.loops.stuck" in workers.log("first")
    assert "These loops are stuck: codegen-control" in workers.log("first")
    assert "Traceback" not in workers.log("first")


async def test_long_work_that_renews_its_lease_is_well(sender, workers, tenant):
    worker = await workers.start("first", **QUICK)
    await send(sender, tenant, events.GenerateChange(instruction="600 0", snapshot=SNAPSHOT))
    await workers.hears("working first")
    for _ in range(40):
        assert await worker.health() == "SERVING"
        await asyncio.sleep(0.2)


async def test_a_loop_that_fetches_no_more_is_stuck(start_service, eventually, monkeypatch):
    monkeypatch.setattr("morningai.bus.broker.FETCH_SECONDS", 0.5)
    service = await start_service("codegen", codegen(Long(ignore)), stuck_seconds=2)
    puller, loop = service.bus.pullers[0]
    await asyncio.sleep(3)
    assert service.liveness.look() == []

    async def never(*_, **__):
        await asyncio.sleep(3600)

    puller.subscription.fetch = never
    await eventually(lambda: service.liveness.look() == [loop.name])
