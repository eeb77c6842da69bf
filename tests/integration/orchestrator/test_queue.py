"""Queued tasks on their way through the running services: they start by themselves, wait no longer than they must, and
survive what dies meanwhile."""

from __future__ import annotations

from datetime import timedelta

import pytest

from morningai.api.tasks.v1 import tasks_pb2 as api
from morningai.bus.work import Long
from morningai.db.session import Database
from services.gateway.feed import Feed
from services.gateway.handlers import make_handlers
from services.orchestrator import repository
from services.orchestrator.cancellation import cancel, lock_or_insert
from services.orchestrator.domain import QueuePlace
from tests.integration.orchestrator.test_admission import queue
from tests.integration.orchestrator.test_suspension import suspend
from tests.integration.orchestrator.test_task_graph import never, platform, request_task, state_of

__all__ = ["platform", "queue", "suspend"]
START = "%.StartTask"
ANSWER = [api.TASK_KIND_ANSWER]
SLOTS = "UPDATE orchestrator.admission SET concurrency = {}"
# How many tasks held a slot at the time when each got its own.
MOST_AT_A_TIME = """
SELECT max((SELECT count(*) FROM orchestrator.tasks AS other
            WHERE other.admitted_at <= own.admitted_at AND coalesce(other.ended_at, now()) > own.admitted_at))
FROM orchestrator.tasks AS own
"""
DISCONNECT = """
SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
WHERE usename IN ('orchestrator_app', 'orchestrator_relay') AND datname = current_database()
"""


async def test_queued_tasks_start_one_after_the_other_and_all_succeed(platform, tenant, database, eventually):
    await database.change(SLOTS.format(1))
    gateway = await platform()
    task_ids = [await request_task(gateway, tenant, ANSWER) for _ in range(4)]
    await eventually(lambda: {state_of(database, task_id) for task_id in task_ids} == {"succeeded"}, seconds=60)
    assert database.rows(MOST_AT_A_TIME) == [(1,)]
    assert database.rows("SELECT count(*) FROM orchestrator.tasks WHERE start_id IS NOT NULL")[0][0] >= 1


async def test_connections_that_die_lose_no_slot_and_use_none_twice(platform, tenant, database, eventually):
    await database.change(SLOTS.format(2))
    gateway = await platform()
    task_ids = [await request_task(gateway, tenant, ANSWER) for _ in range(16)]
    await eventually(lambda: has_ended(database, 3), seconds=60)
    await database.change(DISCONNECT)
    await eventually(lambda: has_ended(database, 9), seconds=60)
    await database.change(DISCONNECT)
    await eventually(lambda: {state_of(database, task_id) for task_id in task_ids} == {"succeeded"}, seconds=60)
    assert database.rows(MOST_AT_A_TIME) == [(2,)]
    assert database.rows("SELECT 1 FROM orchestrator.dead_letters") == []


def has_ended(database, count):
    return database.rows("SELECT count(*) FROM orchestrator.tasks WHERE state = 'succeeded'")[0][0] >= count


async def queued_task(platform, tenant, database, eventually):
    """The only slot is held by a task that does not end."""
    await database.change(SLOTS.format(1))
    gateway = await platform(answer=Long(never))
    await request_task(gateway, tenant, ANSWER)
    await eventually(lambda: database.rows("SELECT 1 FROM faqgen.leases WHERE state = 'running'"))
    task_id = await request_task(gateway, tenant, ANSWER)
    await eventually(lambda: database.rows("SELECT 1 FROM orchestrator.tasks WHERE state = 'queued'"))
    return gateway, task_id


@pytest.fixture
async def orchestrator(database):
    """The database as the orchestrator's calls use it."""
    opened = Database(database.dsn("orchestrator_app"))
    await opened.open()
    yield opened
    await opened.close()


async def cancel_as(orchestrator, tenant, task_id):
    async with orchestrator.tenant_session(tenant.grant()) as session:
        await cancel(session, await lock_or_insert(session, task_id), [])


async def test_a_queued_task_can_be_cancelled(platform, tenant, database, eventually, orchestrator):
    _, task_id = await queued_task(platform, tenant, database, eventually)
    await cancel_as(orchestrator, tenant, task_id)
    await eventually(lambda: state_of(database, task_id) == "cancelled")
    assert database.rows("SELECT 1 FROM orchestrator.outbox WHERE published_at IS NULL AND type LIKE %s", START) == []


async def test_a_task_that_is_cancelled_before_its_request_came_never_starts(
    start_service, platform, tenant, database, eventually, orchestrator
):
    gateway = await start_service("gateway", make_handlers(Feed(), lambda: None))
    task_id = await request_task(gateway, tenant, ANSWER)
    await cancel_as(orchestrator, tenant, task_id)
    await platform()
    await eventually(lambda: state_of(database, task_id) == "cancelled")
    await eventually(lambda: database.rows("SELECT 1 FROM orchestrator.inbox"))
    assert database.rows("SELECT 1 FROM orchestrator.steps") == []


async def test_a_suspended_tenant_s_queued_task_does_not_start(platform, suspend, tenant, database, eventually):
    _, task_id = await queued_task(platform, tenant, database, eventually)
    await suspend(tenant)
    await eventually(lambda: state_of(database, task_id) == "cancelled")
    assert database.rows("SELECT 1 FROM orchestrator.steps WHERE task_id = %s", task_id) == []


async def test_a_queued_task_knows_its_place_and_not_when_it_starts_before_any_did(
    platform, tenant, database, eventually, orchestrator
):
    _, task_id = await queued_task(platform, tenant, database, eventually)
    async with orchestrator.tenant_session(tenant.grant()) as session:
        place = await repository.get_queue_place(session, task_id)
    assert place == QueuePlace(position=1, estimated_start=None)


def test_the_start_is_estimated_by_the_pace_of_those_that_waited(queue, tenant):
    queue.set_slots(1)
    task_ids = [queue.arrive(tenant) for _ in range(6)]
    queue.end(tenant, task_ids[0])
    queue.end(tenant, task_ids[1])
    queue.database.execute(
        "UPDATE orchestrator.tasks SET admitted_at = now() - interval '1 second' * "
        f"CASE task_id WHEN '{task_ids[1]}' THEN 100 ELSE 60 END WHERE admitted_at IS NOT NULL"
    )
    with queue.session(tenant) as connection:
        query = repository.QUERIES["get_queue_place"].replace("AS estimated_start", "- now() AS estimated_start")
        place = connection.execute(query, {"task_id": task_ids[5]}).fetchone()
    assert place == (3, timedelta(seconds=120))


async def test_more_slots_start_what_is_queued(queue, tenant, orchestrator):
    await repository.set_concurrency(orchestrator, 1)
    first, second, third = (queue.arrive(tenant) for _ in range(3))
    await repository.set_concurrency(orchestrator, 2)
    assert [queue.state(task_id) for task_id in (first, second, third)] == ["running", "admitted", "queued"]
