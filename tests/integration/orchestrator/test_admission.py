"""Which queued task gets a slot, and that slots are neither lost nor used twice, decided in PostgreSQL."""

from __future__ import annotations

import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from uuid import uuid4

import psycopg
import pytest

from tests.conftest import OPERATOR_KEY
from tests.integration.orchestrator.queue import Queue

LOW, NORMAL, HIGH = 1, 2, 3
# What is decided at the commit is decided now, and holds from now on.
DECIDE = "SET CONSTRAINTS ALL IMMEDIATE"


@pytest.fixture
def queue(database):
    return Queue(database)


@pytest.fixture
def other(database):
    return database.create_tenant("other")


def test_a_task_that_finds_a_free_slot_runs_at_once(queue, tenant):
    task_id = queue.arrive(tenant)
    assert queue.state(task_id) == "running"
    assert queue.database.rows("SELECT 1 FROM orchestrator.outbox") == []


def test_a_task_without_a_slot_is_queued_and_its_start_held_until_another_ends(queue, tenant):
    queue.set_slots(1)
    first, second = queue.arrive(tenant), queue.arrive(tenant)
    assert queue.state(second) == "queued"
    assert queue.database.rows("SELECT 1 FROM orchestrator.outbox WHERE due_at <= now()") == []
    queue.end(tenant, first)
    assert queue.state(second) == "admitted"
    assert len(queue.database.rows("SELECT 1 FROM orchestrator.outbox WHERE due_at <= now()")) == 1


def test_a_task_that_waits_for_a_person_holds_no_slot(queue, tenant):
    queue.set_slots(1)
    first, second = queue.arrive(tenant), queue.arrive(tenant)
    queue.end(tenant, first, "waiting_for_approval")
    assert queue.state(second) == "admitted"


def test_a_tenant_has_no_more_slots_than_its_limit_and_others_have_the_rest(queue, tenant, other):
    queue.set_limit(tenant, "concurrent_tasks", 2)
    own = [queue.arrive(tenant) for _ in range(3)]
    assert [queue.state(task_id) for task_id in own] == ["running", "running", "queued"]
    assert queue.state(queue.arrive(other)) == "running"


def test_the_next_free_slot_is_for_the_tenant_without_one(queue, tenant, other):
    queue.set_slots(2)
    noisy = [queue.arrive(tenant) for _ in range(10)]
    quiet = queue.arrive(other)
    queue.end(tenant, noisy[0])
    assert queue.in_slots() == [noisy[1], quiet]


def test_with_a_single_slot_tenants_take_turns(queue, tenant, other):
    queue.set_slots(1)
    for _ in range(4):
        queue.arrive(tenant)
    queue.arrive(other)
    tenants = {each.tenant_id: each for each in (tenant, other)}
    assert queue.served(tenants, 3) == [tenant.tenant_id, other.tenant_id, tenant.tenant_id]


def test_a_single_slot_is_shared_by_weight(queue, tenant, other):
    queue.set_slots(1)
    queue.set_limit(tenant, "task_weight", 200)
    for each in (tenant, other):
        for _ in range(10):
            queue.arrive(each)
    tenants = {each.tenant_id: each for each in (tenant, other)}
    assert Counter(queue.served(tenants, 9)) == {tenant.tenant_id: 6, other.tenant_id: 3}


def test_slots_are_held_by_weight(queue, tenant, other):
    queue.set_slots(3)
    queue.set_limit(other, "task_weight", 200)
    first = [queue.arrive(tenant) for _ in range(6)]
    for _ in range(6):
        queue.arrive(other)
    for task_id in first[:3]:
        queue.end(tenant, task_id)
    assert Counter(map(queue.owner, queue.in_slots())) == {tenant.tenant_id: 1, other.tenant_id: 2}


def test_a_tenant_whose_tasks_take_long_gathers_no_slots_beside_one_whose_tasks_are_short(queue, tenant, other):
    queue.set_slots(2)
    long = [queue.arrive(tenant) for _ in range(6)]
    short = [queue.arrive(other) for _ in range(6)]
    queue.end(tenant, long[0])
    for task_id in short[:4]:
        queue.end(other, task_id)
    assert queue.in_slots() == [long[1], short[4]]


def test_what_a_tenant_left_unused_is_not_saved_up(queue, tenant, other):
    queue.set_slots(1)
    tenants = {each.tenant_id: each for each in (tenant, other)}
    for _ in range(6):
        queue.arrive(tenant)
    queue.served(tenants, 5)
    for _ in range(4):
        queue.arrive(tenant)
        queue.arrive(other)
    turns = queue.served(tenants, 6)
    assert Counter(turns[1:5]) == {tenant.tenant_id: 2, other.tenant_id: 2}


def test_a_tenant_s_tasks_start_by_priority_then_in_their_order(queue, tenant):
    queue.set_slots(1)
    running = queue.arrive(tenant)
    low, normal, high, second_high = [queue.arrive(tenant, priority=priority) for priority in (LOW, NORMAL, HIGH, HIGH)]
    order = []
    for task_id in (running, high, second_high, normal):
        queue.end(tenant, task_id)
        order += queue.in_slots()
    assert order == [high, second_high, normal, low]


def test_two_tasks_do_not_take_the_same_slot(queue, tenant, other):
    queue.set_slots(1)
    with queue.session(tenant) as late:
        queue.arrive_in(late, tenant)
        assert queue.state(queue.arrive(other)) == "running"
        with pytest.raises(psycopg.errors.SerializationFailure):
            late.commit()
    assert len(queue.in_slots()) == 1


@pytest.fixture
def committing(database):
    """Commits beside the test, and returns the result to wait for once the commit waits for another transaction."""

    def commit(connection):
        future = pool.submit(connection.commit)
        waiting = "SELECT 1 FROM pg_locks WHERE NOT granted AND pid = %s"
        while not (future.done() or database.rows(waiting, connection.info.backend_pid)):
            time.sleep(0.01)
        return future

    with ThreadPoolExecutor(1) as pool:
        yield commit


def test_of_two_tasks_that_come_at_the_same_time_one_takes_the_slot(queue, tenant, other, committing):
    queue.set_slots(1)
    with queue.session(tenant) as first, queue.session(other) as second:
        queue.arrive_in(first, tenant)
        queue.arrive_in(second, other)
        first.execute(DECIDE)
        committed = committing(second)
        first.commit()
        with pytest.raises(psycopg.errors.SerializationFailure):
            committed.result()
    assert len(queue.in_slots()) == 1


def test_a_task_that_is_queued_while_a_slot_is_freed_is_not_forgotten(queue, tenant, other, committing):
    queue.set_slots(1)
    running = queue.arrive(tenant)
    with queue.session(tenant) as ending, queue.session(other) as coming:
        queue.end_in(ending, running)
        waiting = queue.arrive_in(coming, other)
        ending.execute(DECIDE)
        committed = committing(coming)
        ending.commit()
        committed.result()
    assert queue.in_slots() == [waiting]


def test_a_task_that_comes_while_the_last_slot_is_being_freed_is_admitted(queue, tenant, other):
    queue.set_slots(1)
    running = queue.arrive(tenant)
    with queue.session(tenant) as ending:
        queue.end_in(ending, running)
        waiting = queue.arrive(other)
        assert queue.state(waiting) == "queued"
    assert queue.state(waiting) == "admitted"


def test_a_task_that_is_written_after_the_last_slot_was_freed_is_admitted(queue, tenant, other):
    queue.set_slots(1)
    running = queue.arrive(tenant)
    with queue.session(other) as coming:
        waiting = queue.arrive_in(coming, other)
        queue.end(tenant, running)
    assert queue.state(waiting) == "admitted"


def test_a_slot_whose_end_was_not_committed_is_not_given_away(queue, tenant):
    queue.set_slots(1)
    running, waiting = queue.arrive(tenant), queue.arrive(tenant)
    with suppress(psycopg.OperationalError), queue.session(tenant) as ending:
        queue.end_in(ending, running)
        queue.database.execute(f"SELECT pg_terminate_backend({ending.info.backend_pid})")
    assert (queue.state(running), queue.state(waiting)) == ("running", "queued")
    queue.end(tenant, running)
    assert queue.in_slots() == [waiting]


def test_a_cancelled_task_leaves_the_queue(queue, tenant):
    queue.set_slots(1)
    running, unwanted, wanted = (queue.arrive(tenant) for _ in range(3))
    queue.end(tenant, unwanted, "cancelled")
    queue.end(tenant, running)
    assert queue.in_slots() == [wanted]


def test_an_operator_s_new_limit_starts_what_is_queued(queue, tenant, database):
    queue.set_limit(tenant, "concurrent_tasks", 0)
    waiting = queue.arrive(tenant)
    assert queue.state(waiting) == "queued"
    with psycopg.connect(database.dsn("tenancy_app")) as connection:
        (grant,) = connection.execute("SELECT tenancy.authenticate(%s)", (OPERATOR_KEY,)).fetchone()
        connection.execute("SELECT kernel.open_session(%s)", (grant,))
        connection.execute("SELECT tenancy.set_operator_limit(%s, 'concurrent_tasks', 1)", (tenant.tenant_id,))
    assert queue.state(waiting) == "admitted"


def test_admission_sees_of_tasks_and_messages_no_more_than_it_needs(database):
    with psycopg.connect(database.admin_dsn) as connection:
        connection.execute("SET SESSION AUTHORIZATION orchestrator_admission")
        for statement in (
            "SELECT instruction FROM orchestrator.tasks",
            "SELECT seal FROM orchestrator.outbox",
            "UPDATE orchestrator.outbox SET published_at = NULL",
            "UPDATE orchestrator.tasks SET instruction = ''",
            "SELECT 1 FROM orchestrator.steps",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege), connection.transaction():
                connection.execute(statement)


def test_the_orchestrator_chooses_no_tenant_s_share(database, tenant):
    with psycopg.connect(database.dsn("orchestrator_app")) as connection:
        connection.execute("SELECT kernel.open_session(%s)", (tenant.grant(),))
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("INSERT INTO shares (tenant_id, pass) VALUES (%s, 0)", (uuid4(),))
