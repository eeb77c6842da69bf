"""Tasks whose verified change is pushed as a branch: by default only after somebody agreed."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from morningai.api.events.v1 import events_pb2 as events
from morningai.api.tasks.v1 import tasks_pb2 as api
from morningai.bus.work import Long
from morningai.errors import FailedPrecondition
from services.orchestrator import approvals
from services.orchestrator.cancellation import is_being_delivered
from services.orchestrator.grpc_api import _check_can_be_cancelled
from services.orchestrator.repository import list_steps, lock_task
from tests.integration.orchestrator.test_approvals import APPROVED, REJECTED, key_of, rows_of_approval
from tests.integration.orchestrator.test_task_graph import (
    FAILING,
    answering,
    never,
    platform,
    request_task,
    state_of,
)

__all__ = ["platform"]
CHANGE = [api.TASK_KIND_CHANGE]
BRANCH = "fix/x"
HASH = "a" * 64
POLICY = """
INSERT INTO tenancy.approval_policies (tenant_id, publishing, self_approval, lifetime_seconds, unapproved_delivery)
VALUES ('{}', {}, false, {}, {})
"""


def generated(state="verified", patch_hash=HASH):
    return answering(events.ChangeGenerated(change="changes/1", state=state, patch_hash=patch_hash, reason="because"))


@pytest.fixture
def start(platform, tenant, database, eventually):
    """A task for a change, until it is in one of these states."""

    async def begin(until, *, change=None, branch=BRANCH, kinds=CHANGE, policy=None, **handlers):
        if policy is not None:
            database.execute(POLICY.format(tenant.tenant_id, *policy))
        gateway = await platform(change=change or generated(), **handlers)
        task_id = await request_task(gateway, tenant, kinds, branch=branch)
        await eventually(lambda: state_of(database, task_id) in until)
        found = SimpleNamespace(task_id=task_id, reviewer=key_of(database, tenant, "mk_reviewer"))
        found.sessions = platform.orchestrator.database
        return found

    return begin


async def decide(database, task, verdict=APPROVED):
    approval_id = database.rows("SELECT approval_id FROM orchestrator.approvals WHERE settled_at IS NULL")[0][0]
    async with task.sessions.tenant_session(task.reviewer) as session:
        await approvals.decide(session, approval_id, verdict)


def commanded(database, name="DeliverChange"):
    bodies = database.rows("SELECT body FROM orchestrator.outbox WHERE type LIKE %s", f"%.{name}")
    return [getattr(events, name).FromString(body) for (body,) in bodies]


def failure(database):
    return database.rows("SELECT failure FROM gateway.tasks")[0][0]


async def test_a_change_is_pushed_only_after_somebody_agreed(start, tenant, database, eventually):
    task = await start({"waiting_for_approval"})
    assert rows_of_approval(database, "kind, resource, content_hash, summary") == (
        "delivery",
        "changes/1",
        HASH,
        "Push changes/1 (verified) to  as the branch fix/x, on top of cccccccccc.",
    )
    assert database.rows("SELECT 1 FROM docs.leases WHERE state = 'running'") == []
    assert commanded(database) == []
    await decide(database, task)
    await eventually(lambda: state_of(database, task.task_id) == "succeeded")
    (command,) = commanded(database)
    assert (command.change, command.patch_hash, command.branch) == ("changes/1", HASH, BRANCH)
    assert (command.source, command.base_commit) == ("sources/acme", "c" * 40)
    created = database.rows("SELECT created_at FROM orchestrator.tasks")[0][0]
    assert command.create_time.ToMicroseconds() == int(created.timestamp() * 1_000_000)
    seal = database.rows("SELECT seal FROM orchestrator.outbox WHERE type LIKE '%%.DeliverChange'")[0][0]
    assert seal.split("|")[3] == f"key:{tenant.api_key.partition('.')[0]}"
    deliver = database.rows("SELECT steps FROM gateway.tasks")[0][0][-1]
    assert (deliver["step"], deliver["commit"]) == ("deliver", "d" * 40)
    assert deliver["summary"] == "pushed fix/x at dddddddddd"


async def test_codegen_is_told_to_hand_the_patch_over_only_where_it_is_pushed(start, database):
    await start({"waiting_for_approval"})
    assert [command.hand_over for command in commanded(database, "GenerateChange")] == [True]


async def test_a_task_that_asks_for_no_delivery_pushes_nothing(start, database):
    await start({"succeeded"}, branch="")
    assert (commanded(database), database.rows("SELECT 1 FROM orchestrator.approvals")) == ([], [])
    assert [command.hand_over for command in commanded(database, "GenerateChange")] == [False]


async def test_where_the_policy_lets_it_a_change_is_pushed_at_once(start, database):
    await start({"succeeded"}, policy=("false", 600, "true"))
    assert len(commanded(database)) == 1
    assert database.rows("SELECT 1 FROM orchestrator.approvals") == []


async def test_a_rejected_change_is_kept_and_not_pushed(start, database, eventually):
    task = await start({"waiting_for_approval"})
    await decide(database, task, REJECTED)
    await eventually(lambda: state_of(database, task.task_id) == "partly_succeeded")
    assert failure(database)["reason"] == "approval_rejected"
    assert commanded(database) == []


async def test_a_change_that_nobody_decided_about_is_not_pushed(start, database, eventually):
    task = await start({"waiting_for_approval"}, policy=("false", 1, "false"))
    await eventually(lambda: state_of(database, task.task_id) == "partly_succeeded")
    assert failure(database)["reason"] == "approval_expired"
    assert commanded(database) == []


UNVERIFIED = ["verified_with_test_changes", "unverified_no_tests"]


@pytest.mark.parametrize("state", UNVERIFIED)
async def test_a_change_that_is_not_verified_is_kept_and_says_why_it_is_not_pushed(start, database, state):
    await start({"partly_succeeded"}, change=generated(state, patch_hash=""), policy=("false", 600, "true"))
    assert failure(database)["reason"] == "change_not_verified"
    assert failure(database)["message"] == f"changes/1 is {state}, and only a verified change is pushed."
    assert (commanded(database), database.rows("SELECT 1 FROM orchestrator.approvals")) == ([], [])


async def test_a_change_that_failed_says_why_it_failed(start, database):
    await start({"failed"}, change=generated("failed", patch_hash=""))
    assert failure(database)["reason"] == "failed"
    assert commanded(database) == []


async def test_a_patch_that_is_too_large_to_be_pushed_says_so(start, database):
    await start({"partly_succeeded"}, change=generated(patch_hash=""))
    assert failure(database)["reason"] == "patch_too_large"


async def test_a_push_that_fails_leaves_the_change(start, database, eventually):
    await start({"partly_succeeded"}, deliver=FAILING, policy=("false", 600, "true"))
    assert failure(database)["reason"] == "broken"


async def test_a_principal_who_may_no_longer_pushes_nothing_though_it_was_approved(start, tenant, database, eventually):
    task = await start({"waiting_for_approval"})
    database.execute(
        f"UPDATE tenancy.api_keys SET revoked_at = now() WHERE key_id = '{tenant.api_key.partition('.')[0]}'"
    )
    await decide(database, task)
    await eventually(lambda: state_of(database, task.task_id) == "cancelled")
    assert failure(database)["reason"] == "principal_revoked"
    assert commanded(database) == []


async def test_a_document_and_a_change_are_each_asked_about(start, database, eventually):
    kinds = [api.TASK_KIND_DOCUMENT, api.TASK_KIND_CHANGE]
    task = await start({"waiting_for_approval"}, kinds=kinds, policy=("true", 600, "false"))
    assert rows_of_approval(database, "kind") == ("publishing",)
    await decide(database, task, REJECTED)
    open_kinds = "SELECT kind FROM orchestrator.approvals WHERE settled_at IS NULL"
    await eventually(lambda: database.rows(open_kinds) == [("delivery",)])
    await decide(database, task)
    await eventually(lambda: state_of(database, task.task_id) == "partly_succeeded")
    assert len(commanded(database)) == 1
    assert commanded(database, "PublishDocument") == []


async def test_a_document_is_published_beside_the_push(start, database):
    kinds = [api.TASK_KIND_DOCUMENT, api.TASK_KIND_CHANGE]
    await start({"succeeded"}, kinds=kinds, policy=("false", 600, "true"))
    steps = dict(database.rows("SELECT step, wave FROM orchestrator.steps"))
    assert (steps["publish"], steps["deliver"]) == ("effects", "effects")


async def test_a_task_that_is_being_delivered_is_not_cancelled(start, tenant, database, eventually):
    task = await start({"running"}, deliver=Long(never), policy=("false", 600, "true"))
    await eventually(lambda: commanded(database))
    async with task.sessions.tenant_session(tenant.grant()) as session:
        locked = await lock_task(session, task.task_id)
        steps = await list_steps(session, task.task_id)
    assert is_being_delivered(steps)
    with pytest.raises(FailedPrecondition, match="is being delivered"):
        _check_can_be_cancelled(f"tasks/{task.task_id}", locked, steps)
