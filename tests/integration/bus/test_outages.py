"""A part of ours that is away is waited for by time; the attempts are left for what fails."""

from __future__ import annotations

import asyncio

import grpc
import psycopg
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from structlog.testing import capture_logs

from morningai.api.events.v1 import events_pb2 as events
from morningai.bus.work import Long
from morningai.errors import Retryable
from morningai.rpc.channel import error_of, make_channel
from morningai.rpc.server import RpcServer
from tests.integration.bus.test_settle import codegen, finish_with, orchestrator, send

VERIFIED = events.ChangeGenerated(state="verified")
LEASES = "SELECT state, failures, excused FROM codegen.leases"


@pytest.fixture
def address(tmp_path):
    return f"unix:{tmp_path}/peer.sock"


@pytest.fixture
async def channel(address):
    async with make_channel(address) as channel:
        yield channel


def asking(channel, asked):
    """Work that needs a peer, and does nothing once it has answered."""

    async def work(work, message):
        asked.append(work.attempt)
        try:
            await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=5)
        except grpc.aio.AioRpcError as error:
            raise error_of(error, peer="docs") from error
        return finish_with(work, VERIFIED)

    return codegen(Long(work))


async def test_a_peer_that_is_away_for_longer_than_all_attempts_take_costs_none(
    start_service, tenant, database, eventually, address, channel
):
    asked = []
    sender = await start_service("orchestrator", orchestrator())
    await start_service("codegen", asking(channel, asked), max_attempts=2)
    await send(sender, tenant)
    await eventually(lambda: len(asked) > 4)
    assert [(state, failures) for state, failures, _ in database.rows(LEASES)] == [("running", 0)]
    peer = RpcServer(address, [])
    await peer.start()
    await eventually(lambda: database.rows(LEASES) == [("finished", 0, len(asked) - 1)])
    await peer.stop(0)


async def test_work_that_waited_too_long_for_a_peer_fails_and_says_for_which(
    start_service, tenant, eventually, channel, tmp_path
):
    asked, failures = [], []

    async def on_reply(session, envelope, message):
        failures.append(message.failure)

    sender = await start_service("orchestrator", orchestrator(on_reply))
    await start_service("codegen", asking(channel, asked), outage_seconds=1)
    await send(sender, tenant)
    await eventually(lambda: failures)
    assert failures[0].reason == "UNAVAILABLE"
    assert failures[0].message.startswith("docs does not answer. It was waited for")
    assert failures[0].remedy == "Retry the task once it is there again."
    assert str(tmp_path) not in str(failures[0])


async def test_what_fails_by_itself_between_two_outages_has_all_its_attempts(
    start_service, tenant, database, eventually, channel
):
    failures = []

    async def on_reply(session, envelope, message):
        failures.append(message.failure.reason)

    async def work(work, message):
        if work.attempt % 2:
            await asking(channel, [])[events.GenerateChange].handle(work, message)
        raise Retryable("the model is busy", retry_after_seconds=0.1)

    sender = await start_service("orchestrator", orchestrator(on_reply))
    await start_service("codegen", codegen(Long(work)), max_attempts=3)
    await send(sender, tenant)
    await eventually(lambda: failures == ["RETRYABLE"])
    assert database.rows("SELECT attempt, failures, excused FROM codegen.leases") == [(6, 2, 3)]


async def end_connections(database, query):
    """As a server that is stopped does."""
    await database.change(
        f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE '{query}' AND pid <> pg_backend_pid()"
    )


async def test_a_database_that_is_lost_in_the_middle_of_work_is_one_line_in_the_log(
    start_service, tenant, database, eventually
):
    asked = []

    async def work(work, message):
        asked.append(work.attempt)
        if work.attempt == 1:
            async with work.database.tenant_session(work.proof) as session:
                await session.execute("SELECT pg_sleep(60)")
        return finish_with(work, VERIFIED)

    sender = await start_service("orchestrator", orchestrator())
    await start_service("codegen", codegen(Long(work)), max_attempts=1)
    with capture_logs() as lines:
        await send(sender, tenant)
        await eventually(lambda: asked)
        await asyncio.sleep(0.3)
        await end_connections(database, "SELECT pg_sleep%")
        await eventually(lambda: database.rows(LEASES) == [("finished", 0, 1)])
    assert [line["log_level"] for line in lines if line["event"] == "work.attempt.waits"] == ["warning"]
    assert [line for line in lines if line.get("exc_info") or line["log_level"] == "error"] == []


async def test_a_database_that_is_lost_at_the_end_of_work_costs_no_second_attempt(
    start_service, tenant, database, eventually
):
    replies, finished = [], []

    async def on_reply(session, envelope, message):
        replies.append(message.state)

    async def work(work, message):
        reply = finish_with(work, VERIFIED)

        async def finish(session):
            finished.append(work.attempt)
            if len(finished) == 1:
                await session.execute("SELECT pg_terminate_backend(pg_backend_pid())")
            await reply(session)

        return finish

    sender = await start_service("orchestrator", orchestrator(on_reply))
    await start_service("codegen", codegen(Long(work)))
    await send(sender, tenant)
    await eventually(lambda: replies == ["verified"])
    assert finished == [1, 1]


async def test_a_deadlock_is_no_outage(start_service, tenant, database, eventually):
    failures = []

    async def on_reply(session, envelope, message):
        failures.append(message.failure.reason)

    async def work(work, message):
        raise psycopg.errors.DeadlockDetected

    sender = await start_service("orchestrator", orchestrator(on_reply))
    await start_service("codegen", codegen(Long(work)), max_attempts=2)
    await send(sender, tenant)
    await eventually(lambda: failures)
    assert database.rows("SELECT attempt, failures, excused FROM codegen.leases") == [(2, 1, 0)]
