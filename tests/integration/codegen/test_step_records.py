"""What was recorded of a piece of work, and of the one that it resumes."""

from __future__ import annotations

from uuid import uuid4

import pytest

from morningai.db.session import Database
from services.codegen.repository import StepRecords


@pytest.fixture
async def sessions(database):
    opened = Database(database.dsn("codegen_app"))
    await opened.open()
    yield opened
    await opened.close()


async def test_work_that_resumes_another_has_its_records_but_for_when_it_began(sessions, tenant):
    earlier, later, grant = uuid4(), uuid4(), tenant.grant()
    first = StepRecords(sessions, grant, earlier)
    await first.put("start", 0, "1.0")
    await first.put("reply", 1, '"one"')
    await first.put("reply", 2, '"two"')
    resuming = StepRecords(sessions, grant, later, resumed_id=earlier)
    await resuming.put("reply", 2, '"again"')
    assert await resuming.get("reply", 1) == '"one"'
    assert await resuming.get("reply", 2) == '"again"'
    assert await resuming.get("start", 0) is None
    assert await StepRecords(sessions, grant, later).get("reply", 1) is None
