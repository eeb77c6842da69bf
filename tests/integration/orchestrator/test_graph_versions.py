"""Tasks that an earlier revision left waiting go on to their end: their rows are kept in `fixtures/`."""

from __future__ import annotations

import json

import pytest

from morningai.api.events.v1 import events_pb2 as events
from services.orchestrator.workflow import GRAPHS
from tests.integration.orchestrator.stored_tasks import FIXTURES, restore_task
from tests.integration.orchestrator.test_task_graph import platform

__all__ = ["platform"]
STORED = sorted(path.stem for path in FIXTURES.glob("*.json"))
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


@pytest.mark.parametrize("name", STORED)
async def test_a_task_that_an_earlier_revision_left_goes_on_to_its_end(platform, tenant, database, eventually, name):
    task_id = restore_task(database, tenant, name)
    await platform(resend_seconds=0.2)
    await eventually(
        lambda: database.rows("SELECT state FROM orchestrator.tasks WHERE task_id = %s", task_id) == [("succeeded",)]
    )
    steps = dict(database.rows("SELECT step, state FROM orchestrator.steps WHERE task_id = %s", task_id))
    assert steps == dict.fromkeys(["index", "answer", "faq", "document", "publish"], "succeeded")
    found = sequences(database, task_id)
    assert found == list(range(last_sequence(name) + 1, last_sequence(name) + 1 + len(found)))
    assert database.rows("SELECT 1 FROM orchestrator.dead_letters") == []
