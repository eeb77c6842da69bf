"""A bus that was restarted is asked for messages at once, though it has forgotten who waited for them."""

from __future__ import annotations

import asyncio

import pytest

from morningai.api.events.v1 import events_pb2 as events
from morningai.bus.broker import FETCH_SECONDS
from morningai.bus.work import Long
from morningai.embedded.nats import EmbeddedNats
from tests.conftest import AUTHORIZATION
from tests.integration.bus.test_settle import codegen, finish_with, orchestrator, send

LEASES = "SELECT state FROM codegen.leases"


@pytest.fixture
async def bus(tmp_path):
    server = EmbeddedNats(tmp_path / "nats", None, AUTHORIZATION)
    await server.start()
    while not await server.healthy():  # noqa: ASYNC110  the server tells nobody
        await asyncio.sleep(0.05)
    yield server
    await server.stop()


@pytest.fixture
def nats_url(bus):
    return bus.url


async def test_what_is_sent_after_a_restart_of_the_bus_is_handled_at_once(
    start_service, tenant, database, eventually, bus
):
    async def work(work, message):
        return finish_with(work, events.ChangeGenerated(state="verified"))

    sender = await start_service("orchestrator", orchestrator())
    receiver = await start_service("codegen", codegen(Long(work)))
    await send(sender, tenant)
    await eventually(lambda: database.rows(LEASES) == [("finished",)])
    await asyncio.sleep(0.5)  # every slot asks
    await bus.stop()
    await bus.start()
    client = await receiver.bus.broker.connect()
    await eventually(lambda: client.stats["reconnects"] == 1)
    await send(sender, tenant)
    await eventually(lambda: database.rows(LEASES) == [("finished",), ("finished",)], seconds=FETCH_SECONDS / 3)


async def test_a_slot_that_asked_again_is_brought_one_message(start_service, tenant, database, eventually):
    """A second one would wait in its hands, and nobody else would have it."""
    begun = []

    async def work(work, message):
        begun.append(work.work_id)
        await asyncio.Event().wait()

    sender = await start_service("orchestrator", orchestrator())
    receiver = await start_service("codegen", codegen(Long(work)), slots=1)
    await asyncio.sleep(0.5)  # it asks
    client = await receiver.bus.broker.connect()
    client._transport.close()
    await eventually(lambda: client.stats["reconnects"] == 1)
    await asyncio.sleep(0.5)
    for _ in range(2):
        await send(sender, tenant)
    await eventually(lambda: begun)
    await asyncio.sleep(0.5)
    info = await receiver.bus.jetstream.consumer_info("COMMANDS", "codegen-work")
    assert (len(begun), info.num_pending, info.num_ack_pending) == (1, 1, 0)
