"""What the model calls of a task cost, whoever makes them; and how a task ends whose tenant has nothing left."""

from __future__ import annotations

from pathlib import Path

import pytest

from morningai.api.changes.v1 import changes_pb2 as changes
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
