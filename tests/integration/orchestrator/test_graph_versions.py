"""Tasks that an earlier revision left waiting go on to their end: their rows are kept in `fixtures/`."""

from __future__ import annotations

import json

import pytest

from morningai.api.events.v1 import events_pb2 as events
from morningai.db.session import Database
from services.orchestrator.approvals import Verdict, decide
from services.orchestrator.domain import ApprovalState
from services.orchestrator.workflow import GRAPHS
from tests.integration.orchestrator.stored_tasks import FIXTURES, restore_task
from tests.integration.orchestrator.test_approvals import key_of, set_policy
from tests.integration.orchestrator.test_task_graph import platform

__all__ = ["platform"]
STORED = sorted(path.stem for path in FIXTURES.glob("*.json"))
GOING_ON = [name for name in STORED if not name.endswith(("approval", "deliver", "delivery"))]
EVENTS = "SELECT type, body FROM orchestrator.outbox WHERE task_id = %s AND subject LIKE '%%.task.%%' ORDER BY id"


def last_sequence(name):
    return json.loads((FIXTURES / f"{name}.json").read_text(encoding="utf-8"))["tasks"][0]["sequence"]


def sequences(database, task_id):
    return [
        getattr(events, str(name).rpartition(".")[2]).FromString(body).event.sequence
        for name, body in database.rows(EVENTS, task_id)
    ]


def test_the_graphs_that_tasks_of_earlier_revisions_are_on_can_be_run():
    versions = {json.loads((FIXTURES / f"{name}.json").read_text())["tasks"][0]["graph_version"] for name in STORED}
    assert versions <= set(GRAPHS)
    assert len(STORED) >= 3


@pytest.mark.parametrize("name", GOING_ON)
async def test_a_task_that_an_earlier_revision_left_goes_on_to_its_end(platform, tenant, database, eventually, name):
    task_id = restore_task(database, tenant, name)
    await platform(resend_seconds=0.2)
    await eventually(
        lambda: database.rows("SELECT state FROM orchestrator.tasks WHERE task_id = %s", task_id) == [("succeeded",)]
    )
    version = database.rows("SELECT graph_version FROM orchestrator.tasks WHERE task_id = %s", task_id)[0][0]
    assert name.startswith(f"graph-{version}-")
    steps = dict(database.rows("SELECT step, state FROM orchestrator.steps WHERE task_id = %s", task_id))
    assert steps == dict.fromkeys(["index", "answer", "faq", "document", "publish"], "succeeded")
    found = sequences(database, task_id)
    assert found == list(range(last_sequence(name) + 1, last_sequence(name) + 1 + len(found)))
    assert database.rows("SELECT 1 FROM orchestrator.dead_letters") == []


async def test_a_task_of_the_first_graph_ends_on_it_whatever_the_policy_asks_for_now(
    platform, tenant, database, eventually
):
    set_policy(database, tenant)
    task_id = restore_task(database, tenant, "graph-1-generators")
    await platform(resend_seconds=0.2)
    ended = "SELECT graph_version, state FROM orchestrator.tasks WHERE task_id = %s"
    await eventually(lambda: database.rows(ended, task_id) == [(1, "succeeded")])
    assert database.rows("SELECT 1 FROM orchestrator.approvals") == []


async def test_a_push_that_an_earlier_revision_commanded_goes_on_to_its_end(platform, tenant, database, eventually):
    task_id = restore_task(database, tenant, "graph-3-deliver")
    await platform(resend_seconds=0.2)
    ended = "SELECT graph_version, state FROM orchestrator.tasks WHERE task_id = %s"
    await eventually(lambda: database.rows(ended, task_id) == [(3, "succeeded")])


@pytest.mark.parametrize("name", ["graph-2-approval", "graph-3-approval", "graph-3-delivery"])
async def test_what_was_decided_while_no_orchestrator_ran_takes_effect_when_one_does(
    platform, tenant, database, eventually, name
):
    task_id = restore_task(database, tenant, name)
    approval_id = database.rows("SELECT approval_id FROM orchestrator.approvals")[0][0]
    sessions = Database(database.dsn("orchestrator_app"))
    await sessions.open()
    async with sessions.tenant_session(key_of(database, tenant, "mk_reviewer")) as session:
        await decide(session, approval_id, Verdict(ApprovalState.APPROVED, "", ""))
    await sessions.close()
    await platform()
    ended = "SELECT state FROM orchestrator.tasks WHERE task_id = %s"
    await eventually(lambda: database.rows(ended, task_id) == [("succeeded",)])
    effects = "SELECT count(*) FROM orchestrator.outbox WHERE type ~ 'PublishDocument|DeliverChange'"
    assert database.rows(effects) == [(1,)]
