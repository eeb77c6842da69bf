"""Tasks with a time to live: what has not ended by then ends as expired, once, whatever it is doing."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import uuid4

from morningai.api.events.v1 import events_pb2 as events
from morningai.api.tasks.v1 import tasks_pb2 as api
from morningai.bus import outbox
from morningai.bus.work import Long
from services.gateway.feed import Feed
from services.gateway.handlers import make_handlers
from services.orchestrator.cancellation import cancel, lock_or_insert
from tests.integration.orchestrator.test_approvals import set_policy
from tests.integration.orchestrator.test_delivery import commanded, generated
from tests.integration.orchestrator.test_queue import SLOTS, orchestrator
from tests.integration.orchestrator.test_suspension import Granted
from tests.integration.orchestrator.test_task_graph import never, platform, request_task, state_of

__all__ = ["orchestrator", "platform"]
ANSWER = [api.TASK_KIND_ANSWER]
TIMERS = """
SELECT 1 FROM orchestrator.outbox WHERE type LIKE '%%.ExpireTask' AND published_at IS NULL AND task_id = %s
"""
FIRE = """
UPDATE orchestrator.outbox SET due_at = now() WHERE type LIKE '%.ExpireTask' AND published_at IS NULL;
NOTIFY outbox_orchestrator
"""


async def request_expiring(gateway, tenant, kinds=ANSWER, *, seconds=600.0, branch=""):
    task_id = uuid4()
    message = events.TaskRequested(
        instruction="what is it?",
        source="sources/acme",
        kinds=kinds,
        branch=branch,
        expire_time=datetime.now(UTC) + timedelta(seconds=seconds),
    )
    async with gateway.database.tenant_session(tenant.grant()) as session:
        await session.execute(
            "INSERT INTO tasks (task_id, request_id, principal, instruction, source, kinds, state, trace_id) "
            "VALUES (%(id)s, %(id)s, 'key:x', 'what is it?', 'sources/acme', '{answer}', 'queued', 'aa')",
            {"id": task_id},
        )
        await outbox.emit(session, message, task_id=task_id)
    return task_id


def ends(database, task_id):
    query = "SELECT type FROM orchestrator.outbox WHERE task_id = %s AND type ~ '[.]Task(Exp|Canc|.*Succ|Fail)[a-z]*$'"
    return [name.rpartition(".")[2] for (name,) in database.rows(query, task_id)]


async def test_running_work_stops_and_the_task_says_why(platform, tenant, database, eventually):
    gateway = await platform(answer=Long(never))
    task_id = await request_expiring(gateway, tenant, seconds=2)
    await eventually(lambda: state_of(database, task_id) == "expired")
    failure, steps = database.rows("SELECT failure, steps FROM gateway.tasks")[0]
    assert failure["reason"] == "task_expired"
    assert "longer time to live" in failure["remedy"]
    assert {step["step"]: step["state"] for step in steps} == {"index": "succeeded", "answer": "cancelled"}
    await eventually(lambda: database.rows("SELECT state FROM faqgen.leases") == [("cancelled",)])
    assert database.rows("SELECT count(DISTINCT trace_id) FROM gateway.task_events") == [(1,)]
    sequences = [row[0] for row in database.rows("SELECT sequence FROM gateway.task_events ORDER BY sequence")]
    assert sequences == list(range(1, len(sequences) + 1))
    assert ends(database, task_id) == ["TaskExpired"]


async def test_a_task_that_ends_in_time_does_not_expire(platform, tenant, database, eventually):
    gateway = await platform()
    task_id = await request_expiring(gateway, tenant)
    await eventually(lambda: state_of(database, task_id) == "succeeded")
    assert database.rows(TIMERS, task_id) == []
    assert ends(database, task_id) == ["TaskSucceeded"]


async def test_a_task_without_a_time_to_live_has_no_timer(platform, tenant, database, eventually):
    gateway = await platform(answer=Long(never))
    task_id = await request_task(gateway, tenant, ANSWER)
    await eventually(lambda: database.rows("SELECT 1 FROM faqgen.leases WHERE state = 'running'"))
    assert database.rows(TIMERS, task_id) == []


async def test_a_task_that_may_not_start_has_no_timer(platform, tenant, database, eventually):
    await database.change("UPDATE tenancy.api_keys SET scopes = '{tasks.write,tasks.read}'")
    grant = tenant.grant()
    await database.change("UPDATE tenancy.api_keys SET revoked_at = now()")
    gateway = await platform()
    task_id = await request_expiring(gateway, Granted(tenant, grant))
    await eventually(lambda: state_of(database, task_id) == "cancelled")
    assert database.rows(TIMERS, task_id) == []


async def test_a_queued_task_expires_without_ever_starting(platform, tenant, database, eventually):
    await database.change(SLOTS.format(1))
    gateway = await platform(answer=Long(never))
    holder = await request_task(gateway, tenant, ANSWER)
    await eventually(lambda: database.rows("SELECT 1 FROM faqgen.leases WHERE state = 'running'"))
    task_id = await request_expiring(gateway, tenant)
    await eventually(lambda: database.rows("SELECT 1 FROM orchestrator.tasks WHERE state = 'queued'"))
    await database.change(FIRE)
    await eventually(lambda: state_of(database, task_id) == "expired")
    assert state_of(database, holder) == "running"
    assert database.rows("SELECT 1 FROM orchestrator.steps WHERE task_id = %s", task_id) == []
    held = "SELECT 1 FROM orchestrator.outbox WHERE type LIKE '%%.StartTask' AND published_at IS NULL"
    assert database.rows(held) == []


async def test_an_expired_task_frees_its_slot_for_the_next(platform, tenant, database, eventually):
    await database.change(SLOTS.format(1))
    gateway = await platform(answer=Long(never))
    await request_expiring(gateway, tenant)
    await eventually(lambda: database.rows("SELECT 1 FROM faqgen.leases WHERE state = 'running'"))
    waiting = await request_task(gateway, tenant, ANSWER)
    await eventually(lambda: database.rows("SELECT 1 FROM orchestrator.tasks WHERE state = 'queued'"))
    await database.change(FIRE)
    await eventually(lambda: state_of(database, waiting) == "running")


async def test_a_task_that_waits_for_a_person_expires_and_asks_no_more(platform, tenant, database, eventually):
    set_policy(database, tenant)
    gateway = await platform()
    task_id = await request_expiring(gateway, tenant, [api.TASK_KIND_DOCUMENT])
    await eventually(lambda: state_of(database, task_id) == "waiting_for_approval")
    await database.change(FIRE)
    await eventually(lambda: state_of(database, task_id) == "expired")
    assert database.rows("SELECT state FROM orchestrator.approvals") == [("withdrawn",)]
    due = "SELECT 1 FROM orchestrator.outbox WHERE type LIKE '%%.ApprovalDue' AND published_at IS NULL"
    assert database.rows(due) == []


async def test_a_task_that_is_being_delivered_goes_on(platform, tenant, database, eventually):
    set_policy(database, tenant, publishing=False, unapproved_delivery=True)
    gateway = await platform(change=generated(), deliver=Long(never))
    task_id = await request_expiring(gateway, tenant, [api.TASK_KIND_CHANGE], branch="fix/x")
    await eventually(lambda: commanded(database))
    await database.change(FIRE)
    taken = "SELECT 1 FROM orchestrator.inbox WHERE type LIKE '%%ExpireTask'"
    await eventually(lambda: database.rows(taken))
    assert state_of(database, task_id) == "running"
    assert ends(database, task_id) == []


async def test_a_request_that_came_too_late_expires(start_service, platform, tenant, database, eventually):
    gateway = await start_service("gateway", make_handlers(Feed(), lambda: None))
    task_id = await request_expiring(gateway, tenant, seconds=-1)
    await platform(answer=Long(never))
    await eventually(lambda: state_of(database, task_id) == "expired", seconds=20)
    assert ends(database, task_id) == ["TaskExpired"]


async def test_a_task_that_was_cancelled_does_not_expire(platform, tenant, database, eventually, orchestrator):
    gateway = await platform(answer=Long(never))
    task_id = await request_expiring(gateway, tenant)
    await eventually(lambda: database.rows("SELECT 1 FROM faqgen.leases WHERE state = 'running'"))
    async with orchestrator.tenant_session(tenant.grant()) as session:
        await cancel(session, await lock_or_insert(session, task_id), [])
    await eventually(lambda: state_of(database, task_id) == "cancelled")
    assert database.rows(TIMERS, task_id) == []
    assert ends(database, task_id) == ["TaskCancelled"]


async def test_a_timer_that_comes_after_the_end_changes_nothing(platform, tenant, database, eventually, orchestrator):
    gateway = await platform()
    task_id = await request_expiring(gateway, tenant)
    await eventually(lambda: state_of(database, task_id) == "succeeded")
    async with orchestrator.tenant_session(tenant.grant()) as session:
        late = await outbox.emit(session, events.ExpireTask(), task_id=task_id, to="orchestrator")
    await database.change(FIRE)
    await eventually(lambda: database.rows("SELECT 1 FROM orchestrator.inbox WHERE message_id = %s", late))
    assert state_of(database, task_id) == "succeeded"
    assert ends(database, task_id) == ["TaskSucceeded"]
