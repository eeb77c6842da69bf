"""What a bus that lost its streams had is sent again, once, under its own seal, unless its receiver has seen it."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import psycopg
import pytest

from morningai.api.events.v1 import events_pb2 as events
from morningai.api.tasks.v1 import tasks_pb2 as tasks
from morningai.bus import outbox
from morningai.bus.losses import RESEND, rebuild, resend_lost, routes
from morningai.cli.exit_code import ExitCode
from morningai.cli.main import run
from morningai.db.proof_keys import rotate_proof_key
from morningai.db.session import Database

NOW = datetime.now(UTC)
LATER = NOW + timedelta(seconds=1)
REQUEST = events.TaskRequested(instruction="what?", source="sources/shop")
ENDED = events.TaskSucceeded(event=tasks.TaskEvent(sequence=9))
COMMAND = events.GenerateAnswer(instruction="what?")


@pytest.fixture
async def tenancy(database):
    pool = Database(database.dsn("tenancy_app"))
    await pool.open()
    yield pool
    await pool.close()


async def sent(tenant, service, message, *, task_id=None, published="now()", **given):
    """A message of a service that its relay has published, and its task."""
    task_id = task_id or tenant.open_task(uuid4())
    pool = Database(tenant.database.dsn(f"{service}_app"))
    await pool.open()
    async with pool.tenant_session(tenant.grant()) as session:
        message_id = await outbox.emit(session, message, task_id=task_id, **given)
    await pool.close()
    tenant.database.rows(
        f"UPDATE {service}.outbox SET published_at = {published} WHERE id = %s RETURNING id", message_id
    )
    return message_id, task_id


def unpublished(database, service):
    return {row[0] for row in database.rows(f"SELECT id FROM {service}.outbox WHERE published_at IS NULL")}


async def test_what_nobody_received_is_sent_again_once_for_each_bus(database, tenancy, tenant):
    other = database.create_tenant("other")
    mine, theirs = [(await sent(each, "gateway", REQUEST))[0] for each in (tenant, other)]
    assert await resend_lost(tenancy, made_at=NOW) == 2
    assert unpublished(database, "gateway") == {mine, theirs}
    database.rows("UPDATE gateway.outbox SET published_at = now() RETURNING id")
    assert await resend_lost(tenancy, made_at=NOW) is None
    assert unpublished(database, "gateway") == set()
    assert await resend_lost(tenancy, made_at=LATER) == 2


async def test_whoever_runs_the_database_has_it_done_at_once(database, tenancy, tenant):
    message_id, _ = await sent(tenant, "gateway", REQUEST)
    assert await resend_lost(tenancy, made_at=NOW) == 1
    database.rows("UPDATE gateway.outbox SET published_at = now() RETURNING id")
    assert rebuild(database.admin_dsn) == 1
    assert unpublished(database, "gateway") == {message_id}


async def test_what_was_received_or_buried_is_not_sent_again(database, tenancy, tenant):
    received, _ = await sent(tenant, "gateway", REQUEST)
    buried, _ = await sent(tenant, "gateway", REQUEST)
    database.rows(
        "INSERT INTO orchestrator.inbox (tenant_id, message_id, consumer, type) VALUES (%s, %s, 'c', 't') "
        "RETURNING type",
        tenant.tenant_id,
        received,
    )
    database.rows(
        "INSERT INTO orchestrator.dead_letters (tenant_id, message_id, consumer, type, subject, headers, body, reason, "
        "error, deliveries, trace_id) VALUES (%s, %s, 'c', 't', 's', '{}', '', 'r', 'e', 1, '') RETURNING type",
        tenant.tenant_id,
        buried,
    )
    assert await resend_lost(tenancy, made_at=NOW) == 0


async def test_of_a_task_that_has_ended_facts_are_sent_again_and_commands_are_not(database, tenancy, tenant):
    fact, ended = await sent(tenant, "orchestrator", ENDED)
    await sent(tenant, "orchestrator", COMMAND, task_id=ended, to="faqgen")
    command, _ = await sent(tenant, "orchestrator", COMMAND, to="faqgen")
    database.execute(f"UPDATE kernel.tasks SET closed_at = now() WHERE task_id = '{ended}'")
    assert await resend_lost(tenancy, made_at=NOW) == 2
    assert unpublished(database, "orchestrator") == {fact, command}


async def test_a_timer_that_was_withdrawn_stays_so(database, tenancy, tenant):
    await sent(tenant, "orchestrator", events.StepTimedOut(command_id="x"), to="orchestrator", delay_seconds=60)
    assert await resend_lost(tenancy, made_at=NOW) == 0


async def test_a_message_goes_out_under_its_own_seal_made_with_today_s_key(database, tenancy, tenant):
    message_id, task_id = await sent(tenant, "gateway", REQUEST)
    (before,) = database.rows("SELECT seal FROM gateway.outbox WHERE id = %s", message_id)[0]
    key = rotate_proof_key(database.admin_dsn)
    await resend_lost(tenancy, made_at=NOW)
    (seal,) = database.rows("SELECT seal FROM gateway.outbox WHERE id = %s", message_id)[0]
    assert str(seal).startswith(f"{key.key_id}|")
    assert str(seal).split("|")[1:-1] == str(before).split("|")[1:-1]
    orchestrator = Database(database.dsn("orchestrator_app"))
    await orchestrator.open()
    async with orchestrator.tenant_session(str(seal)) as session:
        assert (session.tenant_id, session.task_id, session.message_id) == (tenant.tenant_id, task_id, message_id)
    await orchestrator.close()


@pytest.mark.parametrize("login", ["gateway_app", "gateway_relay", "faqgen_app"])
async def test_nobody_else_may_send_lost_messages_again(database, tenant, login):
    await sent(tenant, "gateway", REQUEST)
    with psycopg.connect(database.dsn(login)) as connection, pytest.raises(psycopg.errors.InsufficientPrivilege):
        connection.execute("SELECT kernel.resend_lost(now(), '{}', '{}', '{}', '{}')")


async def test_a_tenant_s_session_sends_nothing_of_others(database, tenancy, tenant):
    message_id, _ = await sent(database.create_tenant("other"), "gateway", REQUEST)
    async with tenancy.tenant_session(tenant.grant()) as session:
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match="sends nothing of others"):
            await session.row(RESEND, {"made_at": NOW, **routes()})
    assert message_id not in unpublished(database, "gateway")


async def test_a_time_to_come_hides_no_later_loss(database, tenancy, tenant):
    await resend_lost(tenancy, made_at=NOW + timedelta(days=3650))
    message_id, _ = await sent(tenant, "gateway", REQUEST)
    assert await resend_lost(tenancy, made_at=datetime.now(UTC)) == 1
    assert unpublished(database, "gateway") == {message_id}


def test_the_command_says_how_many(database, tenant, monkeypatch, capsys):
    asyncio.run(sent(tenant, "gateway", REQUEST))
    monkeypatch.setenv("MORNINGAI_ADMIN_DSN", database.admin_dsn)
    assert run(["bus", "rebuild"]) == ExitCode.SUCCESS
    assert "1 message will be sent again." in capsys.readouterr().out
    assert run(["bus", "rebuild", "--json"]) == ExitCode.SUCCESS
    assert json.loads(capsys.readouterr().out) == {"messages_sent_again": 0}


async def test_a_service_that_is_none_names_no_table(database, tenancy):
    row = await tenancy.decide(
        "SELECT kernel.resend_lost(now(), %(p)s, %(t)s, %(t)s, %(p)s) AS count", {"p": ["kernel", "x"], "t": ["", ""]}
    )
    assert row["count"] == 0
