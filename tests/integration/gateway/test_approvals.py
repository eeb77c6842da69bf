"""Approvals as clients meet them: through the real gateway, orchestrator, docs and tenancy."""

from __future__ import annotations

import grpc
import pytest
import pytest_asyncio

from morningai.api.documents.v1 import documents_pb2 as documents
from morningai.api.tasks.v1 import approvals_pb2 as approvals
from morningai.api.tasks.v1 import tasks_pb2 as api
from morningai.api.tenants.v1 import audit_pb2 as audit
from morningai.api.tenants.v1 import keys_pb2 as keys
from morningai.api.tenants.v1 import policies_pb2 as policies
from morningai.rpc.status import remedy_of
from tests.integration.gateway.platform import field_of, new_task

DOCUMENT = [api.TASK_KIND_DOCUMENT]


async def set_policy(client, **policy):
    request = policies.SetApprovalPolicyRequest(approval_policy=policies.ApprovalPolicy(**policy))
    return await client.policies.SetApprovalPolicy(request)


async def waiting_task(client):
    """Its name, and what it waits for."""
    task = await client.tasks.CreateTask(new_task(kinds=DOCUMENT))
    async for event in client.tasks.WatchTask(api.WatchTaskRequest(name=task.name), timeout=60):
        if event.HasField("approval"):
            return task.name, event.approval
    raise AssertionError("the task ended without asking")


async def end_of(client, name):
    events = [event async for event in client.tasks.WatchTask(api.WatchTaskRequest(name=name), timeout=60)]
    return events[-1].task_state


@pytest_asyncio.fixture
async def reviewer(connect, acme, platform):
    """Somebody else of the tenant, who may approve."""
    other = platform.database.rows(
        "INSERT INTO tenancy.api_keys (tenant_id, key_id, hash_key_id, secret_hash, display_name, scopes) "
        "SELECT tenant_id, 'mk_' || left(md5(random()::text), 16), 'k1', '', 'reviewer', "
        "'{approvals.write,tasks.read,documents.read}' FROM tenancy.tenants WHERE tenant_id = %s RETURNING key_id",
        acme.tenant_id,
    )[0][0]
    platform.database.rows(
        "UPDATE tenancy.api_keys SET secret_hash = kernel.mac('k1', 'api-key|' || key_id || '|secret') "
        "WHERE key_id = %s RETURNING 1",
        other,
    )
    return await connect(f"{other}.secret")


async def test_a_document_waits_for_somebody_else_and_is_published(client, reviewer):
    await set_policy(client, publishing=True)
    name, asked = await waiting_task(client)
    assert (await client.tasks.GetTask(api.GetTaskRequest(name=name))).state == api.TASK_STATE_WAITING_FOR_APPROVAL
    pending = approvals.ListApprovalsRequest(state=approvals.APPROVAL_STATE_PENDING)
    assert [each.name for each in (await reviewer.tasks.ListApprovals(pending)).approvals] == [asked.name]
    request = documents.GetDocumentDiffRequest(name=asked.resource, version=asked.version)
    found = await reviewer.documents.GetDocumentDiff(request)
    assert (found.base_version, found.version) == (0, 1)
    assert found.diff.startswith(f"--- nothing\n+++ {asked.resource}@1\n")
    await reviewer.tasks.ApproveTask(approvals.ApproveTaskRequest(name=asked.name, etag=asked.etag, reason="good"))
    assert await end_of(client, name) == api.TASK_STATE_SUCCEEDED
    published = await client.documents.GetDocument(documents.GetDocumentRequest(name=asked.resource))
    assert published.state == documents.DOCUMENT_STATE_PUBLISHED
    decided = await client.tasks.GetApproval(approvals.GetApprovalRequest(name=asked.name))
    assert (decided.state, decided.reason) == (approvals.APPROVAL_STATE_APPROVED, "good")


async def test_a_refused_decision_is_in_the_log_as_one_that_counts(client, platform, acme):
    await set_policy(client, publishing=True)
    name, asked = await waiting_task(client)
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await client.tasks.ApproveTask(approvals.ApproveTaskRequest(name=asked.name))
    assert refused.value.code() is grpc.StatusCode.PERMISSION_DENIED
    assert "policy set --self-approval" in remedy_of(refused.value)
    await set_policy(client, publishing=True, self_approval=True)
    await client.tasks.ApproveTask(approvals.ApproveTaskRequest(name=asked.name))
    assert await end_of(client, name) == api.TASK_STATE_SUCCEEDED
    entries = (await client.audit.ListAuditEntries(audit.ListAuditEntriesRequest(page_size=10))).entries
    assert [(entry.action, entry.outcome) for entry in entries[:4]] == [
        ("approvals.approve", audit.AUDIT_OUTCOME_SUCCEEDED),
        ("policies.set", audit.AUDIT_OUTCOME_SUCCEEDED),
        ("approvals.approve", audit.AUDIT_OUTCOME_REFUSED),
        ("policies.set", audit.AUDIT_OUTCOME_SUCCEEDED),
    ]
    assert entries[0].resource == entries[2].resource == asked.name


async def test_a_key_without_the_scope_decides_nothing_and_sets_no_policy(client, connect):
    wanted = keys.ApiKey(display_name="worker", scopes=["tasks.write", "tasks.read"])
    worker = await connect((await client.keys.CreateApiKey(keys.CreateApiKeyRequest(api_key=wanted))).key)
    request = approvals.ApproveTaskRequest(name="approvals/0198c1de-4f7a-7cc0-9c52-0d6a4f1f7f11")
    with pytest.raises(grpc.aio.AioRpcError, match=r"approvals\.write"):
        await worker.tasks.ApproveTask(request)
    with pytest.raises(grpc.aio.AioRpcError, match=r"tenants\.write"):
        await set_policy(worker, publishing=False)


@pytest.mark.parametrize(
    ("policy", "field"),
    [
        ({"tokens_per_task": -1}, "approval_policy.tokens_per_task"),
        ({"money_per_task": 10**16}, "approval_policy.money_per_task"),
        ({"lifetime": {"seconds": 59}}, "approval_policy.lifetime"),
        ({"lifetime": {"seconds": 15 * 86_400}}, "approval_policy.lifetime"),
    ],
)
async def test_a_policy_that_cannot_hold_is_refused_by_its_field(client, policy, field):
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await set_policy(client, **policy)
    assert (refused.value.code(), field_of(refused.value)) == (grpc.StatusCode.INVALID_ARGUMENT, field)


async def test_a_tenant_that_set_nothing_has_a_policy_that_asks_for_nothing(client):
    policy = await client.policies.GetApprovalPolicy(policies.GetApprovalPolicyRequest())
    assert (policy.publishing, policy.tokens_per_task, policy.money_per_task, policy.self_approval) == (
        False,
        0,
        0,
        False,
    )
    assert policy.lifetime.seconds == 7 * 86_400
    assert not policy.HasField("set_time")
