"""Tasks that wait for a person: who may decide, that one decision counts, and what the task does then."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import psycopg
import pytest

from morningai.api.events.v1 import events_pb2 as events
from morningai.api.tasks.v1 import tasks_pb2 as api
from morningai.bus import outbox
from morningai.bus.work import Long
from morningai.errors import Conflict, FailedPrecondition, InvalidInput, NotFound, PermissionDenied
from services.orchestrator import approval_rows, approvals, repository
from services.orchestrator.approvals import Verdict
from services.orchestrator.cancellation import cancel
from services.orchestrator.domain import ApprovalState
from tests.integration.orchestrator.test_task_graph import FAQ_DONE, answering, platform, request_task, state_of

__all__ = ["platform"]
APPROVED = Verdict(ApprovalState.APPROVED, "", "")
REJECTED = Verdict(ApprovalState.REJECTED, "", "not yet")
POLICY = """
INSERT INTO tenancy.approval_policies
  (tenant_id, publishing, tokens_per_task, self_approval, lifetime_seconds, unapproved_delivery)
VALUES ('{}', {}, {}, {}, {}, {})
"""
DOCUMENT = [api.TASK_KIND_DOCUMENT]
LIMITED = events.StepFailed(failure=api.Failure(reason="task_limit_reached", message="too much", remedy="ask"))


ANSWERED = events.AnswerGenerated(answer="answers/1", found=True)
OPEN_KINDS = "SELECT kind FROM orchestrator.approvals WHERE state = 'pending' AND settled_at IS NULL"


def in_turn(*replies):
    """A worker that gives these answers, one a time."""
    left = iter(replies)

    async def work_on(work, _):
        async def finish(session):
            await outbox.emit(session, next(left), task_id=work.task_id, causation_id=work.work_id)

        return finish

    return work_on


def set_policy(
    database, tenant, *, publishing=True, tokens="NULL", self_approval=False, seconds=600, unapproved_delivery=False
):
    values = (publishing, tokens, self_approval, seconds, unapproved_delivery)
    database.execute(POLICY.format(tenant.tenant_id, *values))


def key_of(database, tenant, name, scopes="approvals.write,tasks.read", creator="''"):
    """Another key of the tenant, nobody's by default; its id and a grant to it."""
    database.execute(
        f"INSERT INTO tenancy.api_keys (tenant_id, key_id, hash_key_id, secret_hash, display_name, scopes, creator) "
        f"VALUES ('{tenant.tenant_id}', '{name}', 'k1', 'x', '{name}', '{{{scopes}}}', {creator})"
    )
    return grant_of(database, tenant, f"key:{name}", scopes)


def grant_of(database, tenant, principal, scopes="approvals.write,tasks.read"):
    mint = "SELECT kernel.mint_grant(%s, %s, string_to_array(%s, ','))"
    return database.rows(mint, tenant.tenant_id, principal, scopes)[0][0]


@pytest.fixture
def waiting(platform, tenant, database, eventually):
    """A task that waits for an approval to publish its document, and everybody concerned."""

    async def start(kinds=DOCUMENT, handlers=None, **policy):
        set_policy(database, tenant, **policy)
        gateway = await platform(**(handlers or {}))
        task_id = await request_task(gateway, tenant, kinds)
        await eventually(lambda: state_of(database, task_id) == "waiting_for_approval")
        reviewer = key_of(database, tenant, "mk_reviewer")
        found = SimpleNamespace(task_id=task_id, gateway=gateway, reviewer=reviewer, platform=platform)
        found.sessions = platform.orchestrator.database
        found.approval_id = database.rows("SELECT approval_id FROM orchestrator.approvals")[0][0]
        return found

    return start


async def decide(task, grant, verdict=APPROVED):
    async with task.sessions.tenant_session(grant) as session:
        return await approvals.decide(session, task.approval_id, verdict)


def rows_of_approval(database, columns="state"):
    return database.rows(f"SELECT {columns} FROM orchestrator.approvals")[0]


def audit_of(database, action):
    return database.rows(
        "SELECT principal, outcome, details FROM tenancy.audit_log WHERE action = %s ORDER BY created_at", action
    )


def published(database):
    return database.rows("SELECT count(*) FROM orchestrator.outbox WHERE type LIKE '%%.PublishDocument'")[0][0]


def event_types(database):
    rows = database.rows("SELECT event FROM gateway.task_events ORDER BY sequence")
    return [api.TaskEvent.FromString(row[0]).type for row in rows]


async def test_a_waiting_task_holds_nothing_and_says_what_it_asks_for(waiting, tenant, database):
    await waiting()
    kind, resource, version, content_hash, requester = rows_of_approval(
        database, "kind, resource, version, content_hash, requester"
    )
    assert (kind, resource, version, content_hash) == ("publishing", "documents/1", 1, "abc")
    assert requester == f"key:{tenant.api_key.partition('.')[0]}"
    held = "SELECT 1 FROM {}.leases WHERE state = 'running'"
    assert [database.rows(held.format(service)) for service in ("orchestrator", "docs", "faqgen")] == [[], [], []]
    assert database.rows("SELECT 1 FROM orchestrator.steps WHERE state = 'running'") == []
    assert event_types(database)[-1] == "task.waiting_for_approval"
    assert published(database) == 0


async def test_an_approved_task_publishes_as_whoever_asked_for_it(waiting, tenant, database, eventually):
    task = await waiting()
    await decide(task, task.reviewer)
    await eventually(lambda: state_of(database, task.task_id) == "succeeded")
    seal = database.rows("SELECT seal FROM orchestrator.outbox WHERE type LIKE '%%.PublishDocument'")[0][0]
    assert seal.split("|")[3] == f"key:{tenant.api_key.partition('.')[0]}"
    assert [row[:2] for row in audit_of(database, "approvals.approve")] == [("key:mk_reviewer", "succeeded")]
    assert event_types(database)[4:6] == ["step.succeeded", "task.waiting_for_approval"]
    assert "task.approved" in event_types(database)
    assert database.rows("SELECT 1 FROM orchestrator.dead_letters") == []


async def test_a_rejected_task_keeps_what_it_made_and_says_why(waiting, database, eventually):
    task = await waiting()
    await decide(task, task.reviewer, REJECTED)
    await eventually(lambda: state_of(database, task.task_id) == "partly_succeeded")
    failure = database.rows("SELECT failure FROM gateway.tasks")[0][0]
    assert failure["reason"] == "approval_rejected"
    assert failure["message"] == "apiKeys/mk_reviewer rejected this: not yet"
    assert published(database) == 0


async def test_nobody_decides_in_time(waiting, database, eventually):
    task = await waiting(seconds=1)
    await eventually(lambda: state_of(database, task.task_id) == "partly_succeeded")
    assert database.rows("SELECT failure FROM gateway.tasks")[0][0]["reason"] == "approval_expired"
    with pytest.raises(FailedPrecondition, match="expired already"):
        await decide(task, task.reviewer)
    assert published(database) == 0


async def test_what_has_expired_is_not_approved_though_its_message_is_late(waiting, database):
    task = await waiting()
    await database.change("UPDATE orchestrator.approvals SET expires_at = now() - interval '1 second'")
    with pytest.raises(FailedPrecondition, match="has expired"):
        await decide(task, task.reviewer)
    assert rows_of_approval(database) == ("pending",)


async def test_of_two_who_decide_at_once_one_counts(waiting, database, eventually):
    task = await waiting()
    other = key_of(database, task_tenant(database), "mk_other")
    verdicts = [decide(task, task.reviewer), decide(task, other, REJECTED)]
    outcomes = await asyncio.gather(*verdicts, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes].count(FailedPrecondition) == 1
    decided = rows_of_approval(database)[0]
    await eventually(lambda: state_of(database, task.task_id) in ("succeeded", "partly_succeeded"))
    assert published(database) == (decided == "approved")
    assert len(audit_of(database, "approvals.approve") + audit_of(database, "approvals.reject")) == 1


def task_tenant(database):
    return SimpleNamespace(tenant_id=database.rows("SELECT tenant_id FROM orchestrator.approvals")[0][0])


async def test_the_same_decision_again_changes_nothing(waiting, database, eventually):
    task = await waiting()
    await decide(task, task.reviewer)
    await eventually(lambda: state_of(database, task.task_id) == "succeeded")
    before = rows_of_approval(database, "approvals::text")
    assert (await decide(task, task.reviewer)).state == ApprovalState.APPROVED
    assert rows_of_approval(database, "approvals::text") == before
    assert len(audit_of(database, "approvals.approve")) == 1
    assert published(database) == 1


async def test_a_decision_on_what_was_read_before_a_change_is_refused(waiting, tenant, database):
    task = await waiting()
    async with task.sessions.tenant_session(task.reviewer) as session:
        await approvals.delegate(session, task.approval_id, "apiKeys/mk_reviewer", etag="1")
    with pytest.raises(Conflict, match="has changed"):
        await decide(task, task.reviewer, Verdict(ApprovalState.APPROVED, "1", ""))
    assert rows_of_approval(database) == ("pending",)


async def test_whoever_asked_does_not_approve_and_neither_does_their_key(waiting, tenant, database):
    task = await waiting()
    own = key_of(database, tenant, "mk_own", creator=f"'key:{tenant.api_key.partition('.')[0]}'")
    with pytest.raises(PermissionDenied, match="does not approve it"):
        await decide(task, tenant.grant())
    with pytest.raises(PermissionDenied, match="does not approve it"):
        await decide(task, own)
    assert rows_of_approval(database) == ("pending",)


async def test_whoever_asked_approves_where_the_policy_lets_them(waiting, tenant, database, eventually):
    task = await waiting(self_approval=True)
    await decide(task, tenant.grant())
    await eventually(lambda: state_of(database, task.task_id) == "succeeded")


async def test_what_was_left_to_somebody_they_alone_decide(waiting, tenant, database, eventually):
    task = await waiting()
    deputy = key_of(database, tenant, "mk_deputy")
    async with task.sessions.tenant_session(task.reviewer) as session:
        await approvals.delegate(session, task.approval_id, "apiKeys/mk_deputy", etag="")
    with pytest.raises(PermissionDenied, match="left to apiKeys/mk_deputy"):
        await decide(task, task.reviewer)
    await decide(task, deputy)
    await eventually(lambda: state_of(database, task.task_id) == "succeeded")
    assert [row[0] for row in audit_of(database, "approvals.delegate")] == ["key:mk_reviewer"]
    assert "task.approval_delegated" in event_types(database)


@pytest.mark.parametrize("name", ["apiKeys/mk_reader", "apiKeys/mk_nobody", "members/x", "mk_reviewer", ""])
async def test_a_decision_is_left_only_to_somebody_who_may_decide(waiting, tenant, database, name):
    task = await waiting()
    key_of(database, tenant, "mk_reader", scopes="tasks.read")
    async with task.sessions.tenant_session(task.reviewer) as session:
        with pytest.raises(InvalidInput, match="assignee"):
            await approvals.delegate(session, task.approval_id, name, etag="")


async def test_a_decision_of_a_key_revoked_before_it_takes_effect_does_not_count(waiting, database, eventually):
    task = await waiting()
    async with task.sessions.tenant_session(task.reviewer) as session:
        await approvals.decide(session, task.approval_id, APPROVED)
        await database.change("UPDATE tenancy.api_keys SET revoked_at = now() WHERE key_id = 'mk_reviewer'")
    await eventually(lambda: any(row[1] == "refused" for row in audit_of(database, "approvals.approve")))
    assert rows_of_approval(database, "state, decider") == ("pending", "")
    assert database.rows("SELECT state FROM orchestrator.tasks") == [("waiting_for_approval",)]
    other = key_of(database, task_tenant(database), "mk_other")
    await decide(task, other)
    await eventually(lambda: state_of(database, task.task_id) == "succeeded")


async def test_an_approval_for_somebody_who_no_longer_may_ends_the_task(waiting, tenant, database, eventually):
    task = await waiting()
    key_id = tenant.api_key.partition(".")[0]
    await database.change(f"UPDATE tenancy.api_keys SET revoked_at = now() WHERE key_id = '{key_id}'")
    await decide(task, task.reviewer)
    await eventually(lambda: state_of(database, task.task_id) == "cancelled")
    assert database.rows("SELECT failure FROM gateway.tasks")[0][0]["reason"] == "principal_revoked"
    assert published(database) == 0


async def test_a_waiting_task_is_cancelled_and_asks_for_nothing_any_more(waiting, tenant, database, eventually):
    task = await waiting()
    async with task.sessions.tenant_session(tenant.grant()) as session:
        await cancel(session, await repository.lock_task(session, task.task_id), [])
    await eventually(lambda: state_of(database, task.task_id) == "cancelled")
    assert rows_of_approval(database) == ("withdrawn",)
    with pytest.raises(FailedPrecondition, match="withdrawn already"):
        await decide(task, task.reviewer)


async def test_another_tenant_decides_nothing(waiting, database):
    task = await waiting()
    stranger = database.create_tenant("other").grant()
    with pytest.raises(NotFound):
        await decide(task, stranger)
    with pytest.raises(NotFound):
        await decide(task, stranger, REJECTED)
    assert rows_of_approval(database) == ("pending",)


async def test_a_message_that_comes_before_its_time_decides_nothing(waiting, database, eventually):
    task = await waiting()
    timer = rows_of_approval(database, "timer_id")
    await database.change("UPDATE orchestrator.outbox SET due_at = now() WHERE type LIKE '%.ApprovalDue'")
    async with task.sessions.tenant_session(task.reviewer) as session:
        session.wakes_relay = True
    await eventually(lambda: rows_of_approval(database, "timer_id") != timer)
    assert rows_of_approval(database) == ("pending",)
    await decide(task, task.reviewer)
    await eventually(lambda: state_of(database, task.task_id) == "succeeded")


async def test_a_task_asks_before_it_spends_more_and_goes_on_where_it_was(waiting, database, eventually):
    kinds = [api.TASK_KIND_ANSWER, api.TASK_KIND_FAQ]
    handlers = {"answer": Long(in_turn(LIMITED, ANSWERED)), "faq": FAQ_DONE}
    task = await waiting(kinds, handlers, publishing=False, tokens=100)
    assert rows_of_approval(database, "kind, why") == (
        "spending",
        "The policy lets a task spend 100 tokens before it asks.",
    )
    await decide(task, task.reviewer)
    await eventually(lambda: state_of(database, task.task_id) == "succeeded")
    assert database.rows("SELECT task_id FROM tenancy.lifted_limits") == [(task.task_id,)]
    assert len(database.rows("SELECT 1 FROM orchestrator.outbox WHERE type LIKE '%%.GenerateFaq'")) == 1


async def test_a_task_that_asks_twice_is_not_let_on_by_a_message_about_the_first(waiting, tenant, database, eventually):
    generated = events.DocumentGenerated(document="documents/1", version=1, content_hash="abc", engine="extractive")
    task = await waiting(handlers={"document": Long(in_turn(LIMITED, generated))}, tokens=100)
    await decide(task, task.reviewer)
    await eventually(lambda: database.rows(OPEN_KINDS) == [("publishing",)])
    async with task.sessions.tenant_session(tenant.grant()) as session:
        stray = events.ApprovalDue(approval_id=str(task.approval_id))
        await outbox.emit(session, stray, task_id=task.task_id, to="orchestrator")
    due = "SELECT 1 FROM orchestrator.inbox WHERE type LIKE '%%.ApprovalDue'"
    await eventually(lambda: len(database.rows(due)) == 2)
    assert database.rows(OPEN_KINDS) == [("publishing",)]
    assert database.rows("SELECT state FROM orchestrator.tasks") == [("waiting_for_approval",)]
    assert published(database) == 0


async def test_a_task_that_may_not_spend_more_says_who_refused(waiting, database, eventually):
    task = await waiting([api.TASK_KIND_ANSWER], {"answer": answering(LIMITED)}, publishing=False, tokens=100)
    await decide(task, task.reviewer, REJECTED)
    await eventually(lambda: state_of(database, task.task_id) == "failed")
    assert database.rows("SELECT failure FROM gateway.tasks")[0][0]["reason"] == "approval_rejected"
    assert database.rows("SELECT 1 FROM tenancy.lifted_limits") == []


async def test_who_may_and_who_stands_behind_whom_is_said_of_one_s_own_tenant(waiting, tenant, database):
    task = await waiting()
    other = database.create_tenant("other")
    key_of(database, other, "mk_elsewhere", creator="'key:mk_maker'")
    async with task.sessions.tenant_session(tenant.grant()) as session:
        assert await approval_rows.may_now(session, "key:mk_reviewer", "approvals.write")
        assert not await approval_rows.may_now(session, "key:mk_elsewhere", "approvals.write")
        assert not await approval_rows.stand_behind_the_same(session, "key:mk_elsewhere", "key:mk_maker")


async def test_no_service_but_the_orchestrator_lifts_a_limit(waiting, tenant, database):
    await waiting()
    with psycopg.connect(database.dsn("faqgen_app")) as connection, pytest.raises(psycopg.errors.InsufficientPrivilege):
        connection.execute("SELECT tenancy.lift_task_limit()")
