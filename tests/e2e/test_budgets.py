"""What the model calls of a task cost, whoever makes them; and how a task ends whose tenant has nothing left."""

from __future__ import annotations

from pathlib import Path

import pytest

from morningai.api.changes.v1 import changes_pb2 as changes
from morningai.api.tasks.v1 import approvals_pb2 as approvals
from morningai.api.tasks.v1 import tasks_pb2 as tasks
from morningai.api.tenants.v1 import policies_pb2 as policies
from tests.e2e.model import NAME, ScriptedModel
from tests.e2e.platform import Platform, Tenant
from tests.e2e.replies import teach_everything
from tests.e2e.repositories import calculator, knowledge, make_repository, question_about

pytestmark = pytest.mark.xdist_group("shared")

KINDS = ("answer", "faq", "document", "change")
USAGE = "SELECT sum(calls)::int, min(model), sum(calls_in_full)::int FROM tenancy.usage WHERE task_id = %s"
FORBID = """
INSERT INTO tenancy.limits (tenant_id, name, operator_value)
SELECT tenant_id, 'tokens_per_day', 10 FROM tenancy.tenants WHERE slug = %s RETURNING name
"""


@pytest.mark.parametrize("kind", KINDS)
def test_the_calls_of_a_task_are_charged_under_its_task(
    platform: Platform, tenant: Tenant, model: ScriptedModel, word: str, tmp_path: Path, kind: str
) -> None:
    teach_everything(model, word)
    source = tenant.add_source(make_repository(tmp_path / "repository", calculator(word) | knowledge(word)))
    outcome = tenant.run(question_about(word), source, kind)
    calls = len(model.calls(word))
    assert calls > 0
    assert platform.rows(USAGE, outcome.task.name.removeprefix("tasks/")) == [(calls, NAME, 0)]


def test_a_tenant_with_nothing_left_is_told_so_by_every_kind_of_work(
    platform: Platform, tenant: Tenant, model: ScriptedModel, word: str, tmp_path: Path
) -> None:
    platform.rows(FORBID, tenant.slug)
    source = tenant.add_source(make_repository(tmp_path / "repository", calculator(word) | knowledge(word)))
    outcome = tenant.run(question_about(word), source, *KINDS)
    failures = {step.step: step.failure for step in outcome.task.steps if step.failure.reason}
    assert {failure.reason for failure in failures.values()} == {"budget_exhausted"}
    assert failures.keys() >= {"answer", "faq", "document"}
    assert "or have tokens_per_day raised" in failures["answer"].remedy
    assert outcome.change is not None
    assert outcome.change.state == changes.CHANGE_STATE_BUDGET_EXHAUSTED
    assert model.calls(word) == []


def test_a_task_asks_before_it_spends_more_than_its_tenant_lets_it(
    tenant: Tenant, model: ScriptedModel, word: str, tmp_path: Path
) -> None:
    teach_everything(model, word)
    gateway = tenant.gateway
    policy = policies.ApprovalPolicy(tokens_per_task=10, self_approval=True)
    gateway.call(gateway.policies.SetApprovalPolicy, policies.SetApprovalPolicyRequest(approval_policy=policy))
    source = tenant.add_source(make_repository(tmp_path / "repository", calculator(word) | knowledge(word)))
    task = tenant.create(question_about(word), source, *KINDS)
    asked = next(event.approval for event in gateway.watch(task, after=0) if event.HasField("approval"))
    assert tenant.get(task).state == tasks.TASK_STATE_WAITING_FOR_APPROVAL
    assert asked.summary == "Spend more on answer, faq, document, change: 0 tokens and 0.00 are spent."
    assert model.calls(word) == []
    gateway.call(gateway.tasks.ApproveTask, approvals.ApproveTaskRequest(name=asked.name))
    assert tenant.ended(task).state == tasks.TASK_STATE_SUCCEEDED
    assert len(model.calls(word)) >= len(KINDS)
