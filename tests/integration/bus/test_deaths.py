"""A process of two ends without a word (kill -9): the other has its work within ten seconds, with the settings as they
are by default. Times are PostgreSQL's own, of what was done and not of when the test looked."""

from __future__ import annotations

from datetime import datetime

import pytest

from morningai.api.events.v1 import events_pb2 as events
from tests.conftest import make_consumers
from tests.integration.bus.test_settle import SNAPSHOT, orchestrator, send

BOUND_SECONDS = 10.0
NOW = "SELECT clock_timestamp()"
# A claim writes the timer of its lease.
CLAIMED = """
SELECT o.created_at FROM codegen.leases AS l JOIN codegen.outbox AS o ON o.id = l.timer_id WHERE l.attempt = 2
"""
RECEIVED = "SELECT received_at FROM codegen.inbox"


@pytest.fixture
async def sender(start_service):
    sender = await start_service("orchestrator", orchestrator())
    await make_consumers("codegen", sender.settings)
    return sender


async def killed(workers, database, name: str) -> datetime:
    workers.named(name).kill()
    [(now,)] = database.rows(NOW)
    return now


async def test_another_replica_has_the_work_of_a_killed_one_within_ten_seconds(
    sender, workers, tenant, database, eventually
):
    await workers.start("first")
    await workers.start("second")
    await send(sender, tenant, events.GenerateChange(instruction="600 0", snapshot=SNAPSHOT))
    name, _ = (await workers.hears("working")).split()
    killed_at = await killed(workers, database, name)
    await eventually(lambda: database.rows(CLAIMED), seconds=60)
    [(claimed_at,)] = database.rows(CLAIMED)
    assert (claimed_at - killed_at).total_seconds() < BOUND_SECONDS
    await eventually(lambda: database.rows("SELECT 1 FROM codegen.leases WHERE state = 'finished'"))
    assert len({line.split()[1] for line in workers.said()}) == 2


async def test_another_replica_has_the_message_of_a_killed_one_within_ten_seconds(
    sender, workers, tenant, database, eventually
):
    await workers.start("first")
    await workers.start("second")
    await send(sender, tenant, events.CancelWork(command_ids=["3600"]))
    name = await workers.hears("cancelling")
    killed_at = await killed(workers, database, name)
    await eventually(lambda: database.rows(RECEIVED), seconds=60)
    [(received_at,)] = database.rows(RECEIVED)
    assert (received_at - killed_at).total_seconds() < BOUND_SECONDS
    other = "second" if name == "first" else "first"
    assert workers.said() == [f"cancelling {name}", f"cancelling {other}", f"cancelled {other}"]
