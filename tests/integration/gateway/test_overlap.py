"""A firing while the schedule's task before it has not ended."""

from __future__ import annotations

import asyncio
from collections import ChainMap

import pytest

from services.gateway.domain.schedules import OverlapPolicy, ScheduleState
from services.gateway.firing import MAY_NOT, OVERLAPS, REPLACED
from services.gateway.repository import schedules as repository
from tests.integration.gateway.firings import (
    deliver,
    end_task,
    fire,
    made_schedule,
    read,
    tasks_of,
    timer_of,
    waiting_of,
)

DUE = "SELECT count(*) FROM gateway.outbox WHERE id = %s AND due_at <= now() AND published_at IS NULL"
UNPUBLISHED = "SELECT id FROM gateway.outbox WHERE id IN (%s, %s) AND published_at IS NULL"
REVOKE = "UPDATE tenancy.api_keys SET revoked_at = now() WHERE tenant_id = '{}'"


async def fired_twice(gateway, database, tenant, policy):
    schedule_id = await made_schedule(gateway, tenant, overlap=policy)
    await fire(gateway, database, schedule_id)
    await fire(gateway, database, schedule_id)
    return schedule_id


def is_due(database, message):
    return database.rows(DUE, message.id) == [(1,)]


async def test_a_firing_is_skipped_and_says_why_and_the_next_one_is_due(gateway, database, tenant):
    schedule_id = await made_schedule(gateway, tenant, overlap=OverlapPolicy.SKIP)
    await fire(gateway, database, schedule_id)
    skipped_at = (await read(gateway, tenant, schedule_id)).next_fire_at
    await fire(gateway, database, schedule_id)
    schedule = await read(gateway, tenant, schedule_id)
    assert len(tasks_of(database, tenant)) == 1
    assert (schedule.skipped_count, schedule.last_skip_at, schedule.last_skip) == (1, skipped_at, OVERLAPS)
    assert schedule.next_fire_at > skipped_at


async def test_a_firing_after_the_end_of_the_task_before_it_is_not_skipped(gateway, database, tenant):
    schedule_id = await made_schedule(gateway, tenant, overlap=OverlapPolicy.SKIP)
    await fire(gateway, database, schedule_id)
    await end_task(gateway, database, tasks_of(database, tenant)[0][0])
    await fire(gateway, database, schedule_id)
    assert len(tasks_of(database, tenant)) == 2


async def test_allowed_tasks_overlap(gateway, database, tenant):
    await fired_twice(gateway, database, tenant, OverlapPolicy.ALLOW)
    assert len(tasks_of(database, tenant)) == 2


async def test_a_queued_firing_waits_for_the_end_of_the_task_before_it(gateway, database, tenant):
    schedule_id = await fired_twice(gateway, database, tenant, OverlapPolicy.QUEUE)
    waiting = waiting_of(database, schedule_id)
    ((task_id, _, _),) = tasks_of(database, tenant)
    assert not is_due(database, waiting)
    await end_task(gateway, database, task_id)
    assert is_due(database, waiting)
    await deliver(gateway, waiting)
    schedule = await read(gateway, tenant, schedule_id)
    assert [row[0] for row in tasks_of(database, tenant)] == [task_id, schedule.last_task_id]
    assert (schedule.waiting, schedule.skipped_count) == (None, 0)


async def test_a_queued_firing_comes_once_however_often_it_is_delivered(gateway, database, tenant):
    schedule_id = await fired_twice(gateway, database, tenant, OverlapPolicy.QUEUE)
    waiting = waiting_of(database, schedule_id)
    await end_task(gateway, database, tasks_of(database, tenant)[0][0])
    await asyncio.gather(*(deliver(gateway, waiting) for _ in range(4)))
    assert len(tasks_of(database, tenant)) == 2


async def test_the_newest_firing_waits_and_the_one_before_it_is_skipped(gateway, database, tenant):
    schedule_id = await fired_twice(gateway, database, tenant, OverlapPolicy.QUEUE)
    first = (await read(gateway, tenant, schedule_id)).waiting
    await fire(gateway, database, schedule_id)
    schedule = await read(gateway, tenant, schedule_id)
    assert schedule.waiting.occasion.time > first.occasion.time
    assert (schedule.skipped_count, schedule.last_skip_at, schedule.last_skip) == (1, first.occasion.time, REPLACED)
    await end_task(gateway, database, tasks_of(database, tenant)[0][0])
    await deliver(gateway, waiting_of(database, schedule_id))
    assert (await read(gateway, tenant, schedule_id)).last_fire_at == schedule.waiting.occasion.time
    assert len(tasks_of(database, tenant)) == 2


async def test_a_firing_that_comes_before_the_waiting_one_was_let_go_takes_its_place(gateway, database, tenant):
    schedule_id = await fired_twice(gateway, database, tenant, OverlapPolicy.QUEUE)
    since = (await read(gateway, tenant, schedule_id)).waiting.occasion.time
    waiting = waiting_of(database, schedule_id)
    await end_task(gateway, database, tasks_of(database, tenant)[0][0])
    await fire(gateway, database, schedule_id)
    await deliver(gateway, waiting)
    schedule = await read(gateway, tenant, schedule_id)
    assert (schedule.waiting, schedule.last_skip_at, schedule.last_skip) == (None, since, REPLACED)
    assert len(tasks_of(database, tenant)) == 2
    assert database.rows(UNPUBLISHED, waiting.id, waiting.id) == []


async def test_a_waiting_firing_that_comes_too_early_goes_on_waiting(gateway, database, tenant):
    schedule_id = await fired_twice(gateway, database, tenant, OverlapPolicy.QUEUE)
    since = (await read(gateway, tenant, schedule_id)).waiting.occasion.time
    await deliver(gateway, waiting_of(database, schedule_id))
    assert (await read(gateway, tenant, schedule_id)).waiting.occasion.time == since
    assert len(tasks_of(database, tenant)) == 1


async def test_a_paused_schedule_s_waiting_firing_is_gone(gateway, database, tenant):
    schedule_id = await fired_twice(gateway, database, tenant, OverlapPolicy.QUEUE)
    waiting = waiting_of(database, schedule_id)
    await database.change(REVOKE.format(tenant.tenant_id))
    timer = timer_of(database, schedule_id)
    await deliver(gateway, timer)
    columns = "state, waiting_id, waiting_since, last_failure ->> 'reason'"
    rows = database.rows(f"SELECT {columns} FROM gateway.schedules WHERE schedule_id = %s", schedule_id)
    assert rows == [(ScheduleState.PAUSED, None, None, MAY_NOT.reason)]
    assert database.rows(UNPUBLISHED, timer.id, waiting.id) == []


async def test_whom_it_acts_for_is_asked_about_again_when_it_has_waited(gateway, database, tenant):
    schedule_id = await fired_twice(gateway, database, tenant, OverlapPolicy.QUEUE)
    waiting = waiting_of(database, schedule_id)
    await database.change(REVOKE.format(tenant.tenant_id))
    await deliver(gateway, waiting)
    rows = database.rows("SELECT state FROM gateway.schedules WHERE schedule_id = %s", schedule_id)
    assert rows == [(ScheduleState.PAUSED,)]
    assert len(tasks_of(database, tenant)) == 1


async def nothing_is_missed(gateway, database, tenant):
    """Whether a task that ends before, while and after a firing begins to wait lets it go."""
    schedule_id = await made_schedule(gateway, tenant, overlap=OverlapPolicy.QUEUE)
    await fire(gateway, database, schedule_id)
    ((task_id, _, _),) = tasks_of(database, tenant)
    await end_while(gateway, database, task_id, fire(gateway, database, schedule_id))
    if len(tasks_of(database, tenant)) != 2:
        return False
    await fire(gateway, database, schedule_id)
    await end_task(gateway, database, tasks_of(database, tenant)[1][0])
    return is_due(database, waiting_of(database, schedule_id))


async def end_while(gateway, database, task_id, firing):
    """The firing begins when the end was written and is not committed."""
    begun = []

    async def begin():
        begun.append(asyncio.create_task(firing))
        await asyncio.sleep(0.3)

    await end_task(gateway, database, task_id, before_commit=begin)
    await begun[0]


async def test_no_end_that_a_firing_waits_for_is_missed(gateway, database, tenant):
    assert await nothing_is_missed(gateway, database, tenant)


MUTATIONS = {
    "the task is not locked": ("lock_newest_task", " FOR SHARE", ""),
    "any task will do": ("list_waiting", "newest_task_id = %(task_id)s", "newest_task_id <> %(task_id)s"),
}


@pytest.mark.parametrize("mutation", MUTATIONS)
async def test_waiting_is_tested_by_mutation(gateway, database, tenant, mutation, monkeypatch):
    name, found, changed = MUTATIONS[mutation]
    statement = repository.QUERIES[name]
    assert found in statement
    mutated = {name: statement.replace(found, changed)}
    monkeypatch.setattr(repository, "QUERIES", ChainMap(mutated, repository.QUERIES))
    assert not await nothing_is_missed(gateway, database, tenant)
