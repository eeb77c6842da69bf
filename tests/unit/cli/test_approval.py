from __future__ import annotations

from google.protobuf.duration_pb2 import Duration

from morningai.api.tasks.v1 import approvals_pb2 as api
from morningai.api.tasks.v1 import tasks_pb2
from morningai.api.tenants.v1 import policies_pb2 as policies
from morningai.cli.progress import event_line
from tests.unit.cli.conftest import Cli
from tests.unit.cli.fake_gateway import APPROVAL, TASK, Script, approval


def test_what_waits_is_listed(tenant_cli: Cli, script: Script) -> None:
    said = tenant_cli("approval", "list", "--task", TASK)

    assert "Publish documents/1, version 2." in said.out
    assert script.requests("ListApprovals") == [
        api.ListApprovalsRequest(page_size=20, task=TASK, state=api.APPROVAL_STATE_PENDING)
    ]


def test_a_request_is_shown_with_who_asks_why_and_the_diff(tenant_cli: Cli) -> None:
    said = tenant_cli("approval", "show", APPROVAL)

    assert "asked by apiKeys/mk_asks" in said.out
    assert "The policy asks for an approval before a document is published." in said.out
    assert "-old\n+new" in said.out


def test_a_request_is_approved_as_it_was_read(tenant_cli: Cli, script: Script) -> None:
    said = tenant_cli("approval", "approve", APPROVAL, "--etag", "1")

    assert said.out == f"Approved. {TASK} goes on.\n"
    assert script.requests("ApproveTask") == [api.ApproveTaskRequest(name=APPROVAL, etag="1")]


def test_a_rejection_says_why(tenant_cli: Cli, script: Script) -> None:
    assert tenant_cli("approval", "reject", APPROVAL).code == 2
    assert tenant_cli("approval", "reject", APPROVAL, "--reason", "not yet").code == 0
    assert script.requests("RejectTask") == [api.RejectTaskRequest(name=APPROVAL, reason="not yet")]


def test_a_decision_is_left_to_somebody(tenant_cli: Cli) -> None:
    said = tenant_cli("approval", "delegate", APPROVAL, "--to", "apiKeys/mk_deputy")

    assert said.out == f"apiKeys/mk_deputy decides about {APPROVAL}.\n"


def test_what_is_not_named_of_a_policy_stays(tenant_cli: Cli, script: Script) -> None:
    said = tenant_cli("policy", "set", "--publishing", "--money-per-task", "1.5", "--expires", "12h")

    assert script.requests("SetApprovalPolicy") == [
        policies.SetApprovalPolicyRequest(
            approval_policy=policies.ApprovalPolicy(
                publishing=True,
                tokens_per_task=200_000,
                money_per_task=1_500_000,
                lifetime=Duration(seconds=43_200),
            )
        )
    ]
    assert "publishing a document   needs an approval" in said.out
    assert "a request expires after 12 hours" in said.out


def test_a_push_needs_an_approval_until_it_is_said_that_it_needs_none(tenant_cli: Cli, script: Script) -> None:
    before = tenant_cli("policy", "show")
    after = tenant_cli("policy", "set", "--no-delivery")

    assert "pushing a change        needs an approval" in before.out
    assert "pushing a change        needs none" in after.out
    (request,) = script.requests("SetApprovalPolicy")
    assert isinstance(request, policies.SetApprovalPolicyRequest)
    assert request.approval_policy.unapproved_delivery


def test_a_watched_task_says_what_it_waits_for() -> None:
    event = tasks_pb2.TaskEvent(type="task.waiting_for_approval", approval=approval())

    assert event_line(event) == (
        "task.waiting_for_approval: Publish documents/1, version 2. "
        "`morningai approval show 0198c1de-5555-7cc0-9c52-0d6a4f1f7f11`"
    )
