"""Writes the checkpoints of tasks that wait, as the newest graph of this revision leaves them: run by hand, before a
new version of the graph is made, with `pytest tests/integration/orchestrator/write_fixtures.py`.
"""

from __future__ import annotations

import pytest

from morningai.api.tasks.v1 import tasks_pb2 as api
from morningai.bus.handling import Short
from morningai.bus.work import Long
from services.orchestrator.workflow import NEWEST_GRAPH
from tests.integration.orchestrator.stored_tasks import write_task
from tests.integration.orchestrator.test_approvals import set_policy
from tests.integration.orchestrator.test_delivery import BRANCH, generated
from tests.integration.orchestrator.test_task_graph import ALL_KINDS, never, platform, request_task

__all__ = ["platform"]
RUNNING = """
SELECT step FROM orchestrator.steps WHERE task_id = %(task_id)s AND state = 'running'
UNION ALL SELECT kind FROM orchestrator.approvals WHERE task_id = %(task_id)s AND state = 'pending'
"""


async def say_nothing(session, envelope, message):
    pass


STOPPED = {
    "index": ("index", Long(never)),
    "generators": ("answer", Long(never)),
    "publish": ("publish", Short(say_nothing)),
    "approval": ("publishing", None),
    "deliver": ("deliver", Long(never)),
    "delivery": ("delivery", None),
}
OF_CHANGES = ("deliver", "delivery")


@pytest.mark.parametrize("wave", STOPPED)
async def test_write(platform, tenant, database, eventually, wave):
    step, handler = STOPPED[wave]
    set_policy(database, tenant, publishing=wave == "approval", unapproved_delivery=wave == "deliver")
    change = {"change": generated()} if wave in OF_CHANGES else {}
    gateway = await platform(**({step: handler} if handler else {}), **change)
    kinds, branch = ([api.TASK_KIND_CHANGE], BRANCH) if wave in OF_CHANGES else (ALL_KINDS, "")
    task_id = await request_task(gateway, tenant, kinds, branch=branch)
    await eventually(lambda: database.rows_of(RUNNING, {"task_id": task_id}) == [(step,)])
    write_task(database, task_id, f"graph-{NEWEST_GRAPH}-{wave}")
