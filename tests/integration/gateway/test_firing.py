"""A schedule's timer: what it makes, once, for whom, and what PostgreSQL refuses it."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import psycopg
import pytest

from morningai.api.events.v1 import events_pb2 as events
from morningai.bus import outbox
from morningai.errors import TaskEnded
from services.gateway import firing
from services.gateway.domain.schedules import Cron, Firing, MissedPolicy, Occasion, ScheduleState, fired_task_id
from services.gateway.firing import MAY_NOT, on_schedule_due
from services.gateway.repository import schedules as repository
from tests.integration.gateway.firings import deliver, due_since, fire, made_schedule, read, tasks_of, timer_of

ENTRIES = "SELECT action, outcome FROM tenancy.audit_log WHERE tenant_id = %s AND action LIKE 'schedules.%%'"
REVOKE = "UPDATE tenancy.api_keys SET revoked_at = now() WHERE tenant_id = '{}'"
SUSPEND = "UPDATE tenancy.tenants SET state = 'suspended' WHERE tenant_id = '{}'"
NARROW = "UPDATE tenancy.api_keys SET scopes = '{{tasks.read}}' WHERE tenant_id = '{}'"


def hour(*, back=0):
    """A full hour, the last one or further back."""
    return datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - timedelta(hours=back)


async def test_a_timer_makes_its_task_and_the_next_timer(gateway, database, tenant):
    schedule_id = await made_schedule(gateway, tenant)
    first = await read(gateway, tenant, schedule_id)
    await fire(gateway, database, schedule_id)
    fired = await read(gateway, tenant, schedule_id)
    principal = f"key:{tenant.api_key.partition('.')[0]}"
    assert tasks_of(database, tenant) == [(fired.last_task_id, principal, "what is new?")]
    assert fired.last_fire_at == first.next_fire_at
    assert fired.next_fire_at == first.next_fire_at + timedelta(hours=1)


async def test_what_was_fired_is_requested_under_a_seal_of_its_own(gateway, database, tenant):
    schedule_id = await made_schedule(gateway, tenant)
    await fire(gateway, database, schedule_id)
    ((task_id, _, _),) = tasks_of(database, tenant)
    ((seal,),) = database.rows("SELECT seal FROM gateway.outbox WHERE task_id = %s", task_id)
    async with gateway.tenant_session(seal) as session:
        assert session.task_id == task_id


async def test_firings_follow_one_another_under_the_seal_of_the_first(gateway, database, tenant):
    schedule_id = await made_schedule(gateway, tenant)
    for _ in range(3):
        await fire(gateway, database, schedule_id)
    assert len(tasks_of(database, tenant)) == 3


async def test_a_timer_that_comes_again_makes_nothing(gateway, database, tenant):
    schedule_id = await made_schedule(gateway, tenant)
    timer = timer_of(database, schedule_id)
    await deliver(gateway, timer)
    await deliver(gateway, timer)
    assert len(tasks_of(database, tenant)) == 1


async def test_two_replicas_with_the_same_timer_make_one_task(gateway, database, tenant):
    schedule_id = await made_schedule(gateway, tenant)
    timer = timer_of(database, schedule_id)
    await asyncio.gather(*(deliver(gateway, timer) for _ in range(4)))
    assert len(tasks_of(database, tenant)) == 1


async def die_before_the_commit(gateway, timer):
    async with gateway.tenant_session(timer.seal) as session:
        await on_schedule_due(session, timer, timer.message())
        raise ConnectionAbortedError


async def test_a_firing_whose_end_was_lost_is_made_again_as_the_same_task(gateway, database, tenant):
    schedule_id = await made_schedule(gateway, tenant)
    timer = timer_of(database, schedule_id)
    with pytest.raises(ConnectionAbortedError):
        await die_before_the_commit(gateway, timer)
    assert tasks_of(database, tenant) == []
    await deliver(gateway, timer)
    due = timer.message().time.ToDatetime(tzinfo=UTC)
    assert [row[0] for row in tasks_of(database, tenant)] == [fired_task_id(schedule_id, Occasion(due))]


async def test_two_timers_for_one_time_make_one_task(gateway, database, tenant):
    schedule_id = await made_schedule(gateway, tenant, policy=MissedPolicy.CATCH_UP)
    for _ in range(2):
        await due_since(gateway, tenant, schedule_id, hour())
        await fire(gateway, database, schedule_id)
    assert len(tasks_of(database, tenant)) == 1


async def test_missed_firings_are_skipped(gateway, database, tenant):
    schedule_id = await made_schedule(gateway, tenant, trigger=Cron(f"0 {hour(back=5).hour} * * *", "UTC"))
    await due_since(gateway, tenant, schedule_id, hour(back=53))
    await fire(gateway, database, schedule_id)
    schedule = await read(gateway, tenant, schedule_id)
    assert tasks_of(database, tenant) == []
    assert schedule.next_fire_at > datetime.now(UTC) - timedelta(minutes=1)


async def test_missed_firings_are_caught_up_in_order_and_at_most_ten(gateway, database, tenant):
    schedule_id = await made_schedule(gateway, tenant, policy=MissedPolicy.CATCH_UP, trigger=Cron("0 * * * *", "UTC"))
    await due_since(gateway, tenant, schedule_id, hour(back=15))
    times = []
    for _ in range(10):
        await fire(gateway, database, schedule_id)
        times.append((await read(gateway, tenant, schedule_id)).last_fire_at)
    await fire(gateway, database, schedule_id)
    assert times == [hour(back=back) for back in range(15, 5, -1)]
    assert (await read(gateway, tenant, schedule_id)).next_fire_at > datetime.now(UTC) - timedelta(minutes=1)


@pytest.mark.parametrize("change", [REVOKE, SUSPEND, NARROW], ids=["revoked", "suspended", "without the scope"])
async def test_whoever_may_not_any_more_fires_nothing_and_the_schedule_is_paused(gateway, database, tenant, change):
    schedule_id = await made_schedule(gateway, tenant)
    timer = timer_of(database, schedule_id)
    await database.change(change.format(tenant.tenant_id))
    await deliver(gateway, timer)
    columns = "state, timer_id, next_fire_at, last_failure ->> 'reason'"
    rows = database.rows(f"SELECT {columns} FROM gateway.schedules WHERE schedule_id = %s", schedule_id)
    assert rows == [(ScheduleState.PAUSED, None, None, MAY_NOT.reason)]
    assert tasks_of(database, tenant) == []
    assert database.rows(ENTRIES, tenant.tenant_id) == [("schedules.pause", "refused")]


async def test_a_firing_beyond_the_quota_is_refused_and_the_next_one_is_due(gateway, database, tenant):
    schedule_id = await made_schedule(gateway, tenant)
    await database.change(
        f"INSERT INTO tenancy.limits (tenant_id, name, operator_value) VALUES ('{tenant.tenant_id}', 'active_tasks', 1)"
    )
    await fire(gateway, database, schedule_id)
    await fire(gateway, database, schedule_id)
    schedule = await read(gateway, tenant, schedule_id)
    assert len(tasks_of(database, tenant)) == 1
    assert (schedule.last_task_id, schedule.last_failure.reason) == (None, "quota_exceeded")
    assert schedule.state is ScheduleState.ACTIVE
    assert schedule.next_fire_at > schedule.last_fire_at


async def test_a_closed_schedule_s_seal_opens_nothing(gateway, database, tenant):
    schedule_id = await made_schedule(gateway, tenant)
    timer = timer_of(database, schedule_id)
    async with gateway.tenant_session(tenant.grant()) as session:
        await repository.delete_schedule(session, schedule_id)
    await deliver(gateway, timer)
    await database.change("UPDATE kernel.tasks SET closed_at = now() - interval '11 minutes'")
    assert tasks_of(database, tenant) == []
    with pytest.raises(TaskEnded):
        async with gateway.tenant_session(timer.seal):
            pass


async def test_a_schedule_s_seal_outlasts_a_task_s(gateway, database, tenant):
    schedule_id = await made_schedule(gateway, tenant)
    await database.change("UPDATE kernel.tasks SET opened_at = now() - interval '300 days'")
    await fire(gateway, database, schedule_id)
    assert len(tasks_of(database, tenant)) == 1


OPEN_TASK = "SELECT kernel.open_scheduled_task(%(task_id)s)"
SCHEDULED = "SELECT principal, tenant_id FROM kernel.tasks WHERE task_id = %s"


async def open_task(gateway, proof, task_id):
    async with gateway.tenant_session(proof) as session:
        await session.execute(OPEN_TASK, {"task_id": task_id})


async def refused(gateway, proof, task_id):
    try:
        await open_task(gateway, proof, task_id)
    except psycopg.errors.InsufficientPrivilege:
        return True
    return False


async def is_held(gateway, database, tenant, other):
    """Whether the function that opens tasks keeps everything that it promises."""
    schedule_id = await made_schedule(gateway, tenant)
    seal = timer_of(database, schedule_id).seal
    task_seal = await seal_of_a_task(gateway, database, tenant)
    task_id = uuid4()
    await open_task(gateway, seal, task_id)
    held = database.rows(SCHEDULED, task_id) == [(f"key:{tenant.api_key.partition('.')[0]}", tenant.tenant_id)]
    held &= await refused(gateway, tenant.grant(), uuid4())
    held &= await refused(gateway, task_seal, uuid4())
    await database.change(f"UPDATE kernel.tasks SET closed_at = now() WHERE task_id = '{schedule_id}'")
    held &= await refused(gateway, seal, uuid4())
    # Another tenant's schedule of the same id is open all the same.
    await database.change(
        "INSERT INTO kernel.tasks (tenant_id, task_id, principal, schedule_id) "
        f"VALUES ('{other.tenant_id}', '{schedule_id}', 'key:x', '{schedule_id}')"
    )
    held &= await refused(gateway, seal, uuid4())
    await database.change(f"UPDATE kernel.tasks SET closed_at = NULL WHERE task_id = '{schedule_id}'")
    await database.change(REVOKE.format(tenant.tenant_id))
    return held & await refused(gateway, seal, uuid4())


async def seal_of_a_task(gateway, database, tenant):
    """Of a command in a task that a schedule fired."""
    await fire(gateway, database, await made_schedule(gateway, tenant))
    ((task_id, seal),) = database.rows(
        "SELECT t.task_id, o.seal FROM gateway.outbox AS o JOIN gateway.tasks AS t USING (tenant_id, task_id)"
    )
    async with gateway.tenant_session(seal) as session:
        command_id = await outbox.emit(session, events.CancelWork(), task_id=task_id, to="docs")
    return database.rows("SELECT seal FROM gateway.outbox WHERE id = %s", command_id)[0][0]


async def test_a_task_is_opened_by_an_open_schedule_s_timer_for_a_principal_who_may(gateway, database, tenant):
    assert await is_held(gateway, database, tenant, database.create_tenant("bravo"))


MUTATIONS = {
    "another principal": ("fired, proof.principal", "fired, 'key:somebody'"),
    "no seal": ("proof.kind IS DISTINCT FROM 's' OR NOT EXISTS", "false AND NOT EXISTS"),
    "any task's seal": (" AND t.schedule_id = t.task_id", ""),
    "a closed schedule": (" AND t.closed_at IS NULL", ""),
    "no tenant filter": ("WHERE t.tenant_id = proof.tenant_id AND", "WHERE"),
    "no check of the principal": ("NOT tenancy.principal_may('tasks.write')", "false"),
}


@pytest.mark.parametrize("mutation", MUTATIONS)
async def test_what_opens_a_scheduled_task_is_tested_by_mutation(gateway, database, tenant, mutation):
    found, changed = MUTATIONS[mutation]
    ((definition,),) = database.rows("SELECT pg_get_functiondef('kernel.open_scheduled_task(uuid)'::regprocedure)")
    assert found in definition
    await database.change(definition.replace(found, changed))
    assert not await is_held(gateway, database, tenant, database.create_tenant("bravo"))


async def sends_no_more_than_it_may(gateway, database, tenant):
    """Whether the seals of what a timer sends are the timer's own: same scopes, and nothing for one who may not."""
    schedule_id = await made_schedule(gateway, tenant)
    timer = timer_of(database, schedule_id)
    await deliver(gateway, timer)
    seals = [seal.split("|") for (seal,) in database.rows("SELECT seal FROM gateway.outbox")]
    same = {tuple(seal[2:5]) for seal in seals} == {tuple(timer.seal.split("|")[2:5])}
    await database.change(REVOKE.format(tenant.tenant_id))
    try:
        async with gateway.tenant_session(timer.seal) as session:
            await firing.set_timer(session, await repository.get_schedule(session, schedule_id), Firing(hour()))
    except psycopg.errors.InsufficientPrivilege:
        return same
    return False


async def test_a_timer_sends_under_its_own_rights_and_while_it_may(gateway, database, tenant):
    assert await sends_no_more_than_it_may(gateway, database, tenant)


SEALING = {
    "no check of the principal": ("NOT tenancy.principal_may('tasks.write')", "false"),
    "wider scopes": ("NEW.tenant_id := proof.tenant_id;", "proof.scopes := proof.scopes || 'operator'::text;"),
}


@pytest.mark.parametrize("mutation", SEALING)
async def test_sealing_what_a_timer_sends_is_tested_by_mutation(gateway, database, tenant, mutation):
    found, changed = SEALING[mutation]
    ((definition,),) = database.rows("SELECT pg_get_functiondef('kernel.seal_outbox()'::regprocedure)")
    assert found in definition
    await database.change(definition.replace(found, changed))
    assert not await sends_no_more_than_it_may(gateway, database, tenant)
