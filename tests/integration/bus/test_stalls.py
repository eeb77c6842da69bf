"""Work whose worker lives and which gets no further is begun again, within bounds; work that moves is left alone."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress

from morningai.api.events.v1 import events_pb2 as events
from morningai.bus.work import Long
from tests.integration.bus.test_settle import codegen, finish_with, orchestrator, send

VERIFIED = events.ChangeGenerated(state="verified")
LEASES = "SELECT state, attempt FROM codegen.leases"


async def test_work_that_gets_no_further_is_begun_again(start_service, tenant, database, eventually):
    ended = []

    async def work(work, message):
        work.progress(0.5, "waiting")
        try:
            await asyncio.sleep(60 if work.attempt == 1 else 0)
        finally:
            ended.append(work.attempt)
        return finish_with(work, VERIFIED)

    sender = await start_service("orchestrator", orchestrator())
    await start_service("codegen", codegen(Long(work)), stall_seconds=1.2)
    await send(sender, tenant)
    await eventually(lambda: database.rows(LEASES) == [("finished", 2)])
    assert ended == [1, 2]


async def test_work_that_says_where_it_is_may_take_longer(start_service, tenant, database, eventually):
    async def work(work, message):
        for part in range(7):
            work.progress(part / 7, "reading")
            await asyncio.sleep(0.5)
        return finish_with(work, VERIFIED)

    sender = await start_service("orchestrator", orchestrator())
    await start_service("codegen", codegen(Long(work)), stall_seconds=1.2)
    await send(sender, tenant)
    await eventually(lambda: database.rows(LEASES) == [("finished", 1)])


async def test_a_step_that_never_gets_further_fails_and_says_where(start_service, tenant, database, eventually):
    failures = []

    async def on_reply(session, envelope, message):
        failures.append(message.failure)

    async def work(work, message):
        while True:
            work.progress(0.5, "asking the model")
            await asyncio.sleep(0.1)

    sender = await start_service("orchestrator", orchestrator(on_reply))
    await start_service("codegen", codegen(Long(work)), stall_seconds=1.2, max_attempts=1)
    await send(sender, tenant)
    await eventually(lambda: failures)
    assert failures[0].reason == "STALLED"
    assert "at 'asking the model'" in failures[0].message


class LosesCancellations:
    """A database whose sessions do what `asyncio.wait_for` does in Python 3.11 when its answer comes at that moment."""

    def __init__(self, database):
        self._database = database

    @asynccontextmanager
    async def tenant_session(self, proof):
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(0.5)
        async with self._database.tenant_session(proof) as session:
            yield session


async def test_work_that_is_done_ends_though_its_renewal_loses_the_cancellation(
    start_service, tenant, database, eventually
):
    async def work(work, message):
        work.database = LosesCancellations(work.database)
        await asyncio.sleep(1.2)
        return finish_with(work, VERIFIED)

    sender = await start_service("orchestrator", orchestrator())
    await start_service("codegen", codegen(Long(work)))
    await send(sender, tenant)
    await eventually(lambda: database.rows(LEASES) == [("finished", 1)])
