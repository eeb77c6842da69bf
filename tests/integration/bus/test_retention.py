"""What is over is deleted and nothing else, whosever it is; what a lost bus or a late message needs is kept for it."""

from __future__ import annotations

import asyncio
import re
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import psycopg
import pytest
from psycopg import sql

from morningai.bus.losses import resend_lost
from morningai.bus.retention import Sweeper
from morningai.db.session import Database
from morningai.settings import ServiceSettings
from services.codegen.app import make_retention as codegen_retention
from services.codegen.settings import Settings as CodegenSettings
from services.docs.app import make_retention as docs_retention
from services.docs.settings import Settings as DocsSettings
from services.gateway.app import make_retention as gateway_retention
from services.gateway.settings import Settings as GatewaySettings
from services.orchestrator.app import make_retention as orchestrator_retention
from services.orchestrator.settings import Settings as OrchestratorSettings
from services.tenancy.app import make_retention as tenancy_retention
from services.tenancy.settings import Settings as TenancySettings
from tests.conftest import clone

RULES = {
    "gateway": (GatewaySettings, gateway_retention),
    "orchestrator": (OrchestratorSettings, orchestrator_retention),
    "codegen": (CodegenSettings, codegen_retention),
    "docs": (DocsSettings, docs_retention),
    "tenancy": (TenancySettings, tenancy_retention),
}
EVERY = (
    *("kernel.tasks", "gateway.tasks", "gateway.task_events", "gateway.webhook_deliveries"),
    *(
        "gateway.outbox",
        "orchestrator.inbox",
        "orchestrator.outbox",
        "faqgen.inbox",
        "faqgen.leases",
        "faqgen.dead_letters",
    ),
    *("orchestrator.tasks", "orchestrator.steps", "orchestrator.checkpoints", "orchestrator.checkpoint_blobs"),
    *("orchestrator.checkpoint_writes", "codegen.leases", "codegen.steps", "tenancy.reservations", "tenancy.usage"),
    *("orchestrator.approvals", "tenancy.lifted_limits", "docs.patches"),
)
OF_MESSAGES = {"gateway.outbox", "orchestrator.inbox", "orchestrator.outbox", "faqgen.inbox"}
OF_WORK = {
    *("faqgen.leases", "codegen.leases", "codegen.steps", "docs.patches"),
    *("orchestrator.checkpoints", "orchestrator.checkpoint_blobs", "orchestrator.checkpoint_writes"),
}
# What one task leaves behind, that began so many days ago.
ROWS = """
INSERT INTO kernel.tasks (tenant_id, task_id, principal, opened_at, closed_at)
VALUES (%(tenant)s, %(task)s, 'key:x', %(began)s, %(ended)s);
INSERT INTO gateway.tasks (tenant_id, task_id, request_id, principal, instruction, source, kinds, state, trace_id,
  created_at, ended_at)
VALUES (%(tenant)s, %(task)s, gen_random_uuid(), 'p', 'i', 's', '{}', 'x', 't', %(began)s, %(ended)s);
INSERT INTO gateway.task_events (tenant_id, task_id, sequence, trace_id, event, received_at)
VALUES (%(tenant)s, %(task)s, 1, 't', '', %(began)s);
INSERT INTO gateway.webhook_endpoints (tenant_id, endpoint_id, url, secret) VALUES (%(tenant)s, %(task)s, 'u', '');
INSERT INTO gateway.webhook_deliveries (tenant_id, endpoint_id, event_id, event_type, body, state, created_at, ended_at)
VALUES (%(tenant)s, %(task)s, %(id)s, 't', '', 'failed', %(began)s, %(ended)s);
INSERT INTO gateway.outbox (tenant_id, id, task_id, type, subject, body, traceparent, created_at, due_at, published_at)
VALUES (%(tenant)s, %(id)s, %(task)s, 'morningai.api.events.v1.TaskRequested', 'morningai.event.x', '', '', %(began)s,
  %(began)s, %(began)s);
INSERT INTO orchestrator.inbox (tenant_id, message_id, consumer, type, received_at)
VALUES (%(tenant)s, %(id)s, 'c', 't', %(began)s);
INSERT INTO orchestrator.outbox (tenant_id, id, task_id, type, subject, body, traceparent, created_at, due_at,
  published_at)
VALUES (%(tenant)s, %(work)s, %(task)s, 'morningai.api.events.v1.GenerateAnswer', 'morningai.command.faqgen', '', '',
  %(began)s, %(began)s, %(began)s);
INSERT INTO faqgen.inbox (tenant_id, message_id, consumer, type, received_at)
VALUES (%(tenant)s, %(work)s, 'work', 't', %(began)s);
INSERT INTO faqgen.leases (tenant_id, work_id, task_id, attempt, state, worker, timer_id, expires_at, updated_at)
VALUES (%(tenant)s, %(work)s, %(task)s, 1, 'running', 'w', %(work)s, %(began)s, %(began)s);
INSERT INTO faqgen.dead_letters (tenant_id, message_id, consumer, type, subject, headers, body, reason, error,
  deliveries, trace_id, buried_at)
VALUES (%(tenant)s, %(other)s, 'c', 't', 's', '{}', '', 'r', 'e', 1, '', %(began)s);
INSERT INTO orchestrator.tasks (tenant_id, task_id, instruction, source, kinds, state, graph_version, traceparent,
  created_at, ended_at)
VALUES (%(tenant)s, %(task)s, 'i', 's', '{}', 'running', 1, 't', %(began)s, %(ended)s);
INSERT INTO orchestrator.steps (tenant_id, task_id, step, wave, service, state, command_id, timer_id, deadline)
VALUES (%(tenant)s, %(task)s, 's', 'w', 'faqgen', 'running', %(work)s, %(work)s, %(began)s);
INSERT INTO orchestrator.checkpoints (tenant_id, thread_id, checkpoint_id, checkpoint)
VALUES (%(tenant)s, %(task)s::text, 'c', '{}');
INSERT INTO orchestrator.checkpoint_blobs (tenant_id, thread_id, channel, version, type)
VALUES (%(tenant)s, %(task)s::text, 'c', 'v', 't');
INSERT INTO orchestrator.checkpoint_writes (tenant_id, thread_id, checkpoint_id, task_id, idx, channel, blob)
VALUES (%(tenant)s, %(task)s::text, 'c', 't', 1, 'c', '');
INSERT INTO codegen.leases (tenant_id, work_id, task_id, attempt, state, worker, timer_id, expires_at, updated_at)
VALUES (%(tenant)s, %(work)s, %(task)s, 1, 'running', 'w', %(work)s, %(began)s, %(began)s);
INSERT INTO codegen.steps (tenant_id, work_id, step, attempt, record, recorded_at)
VALUES (%(tenant)s, %(work)s, 's', 1, '{}', %(began)s);
INSERT INTO docs.patches (tenant_id, change, task_id, patch_hash, patch, received_at)
VALUES (%(tenant)s, 'changes/1', %(task)s, encode(sha256('x'), 'hex'), 'x', %(began)s);
INSERT INTO tenancy.reservations (tenant_id, call_id, task_id, model, day, state, prompt_tokens, completion_tokens,
  prompt_price, completion_price, money, expires_at)
VALUES (%(tenant)s, %(other)s, %(task)s, 'm', current_date, 'settled', 1, 1, 1, 1, 1, %(began)s);
INSERT INTO tenancy.usage (tenant_id, day, task_id, model, calls, calls_in_full, prompt_tokens, completion_tokens,
  money)
VALUES (%(tenant)s, %(began)s::date, %(task)s, 'm', 1, 0, 1, 1, 1);
INSERT INTO tenancy.lifted_limits (tenant_id, task_id, lifted_at) VALUES (%(tenant)s, %(task)s, %(began)s);
INSERT INTO orchestrator.approvals (tenant_id, approval_id, task_id, kind, state, requester, resource, version,
  content_hash, summary, why, timer_id, expires_at, decided_at, settled_at)
VALUES (%(tenant)s, %(work)s, %(task)s, 'publishing', 'approved', 'p', 'r', 1, 'h', 's', 'w', %(work)s, %(began)s,
  %(began)s, %(began)s)
"""
# Enough that the planner would go through the tables if it might: half of the tasks are over.
MANY = 4000
WHOLE_TABLE = re.compile(r"Seq Scan|Bitmap|Hash (Anti |Semi )?Join|Merge|Sort")
FULL_TABLES = """
CREATE TABLE public.filling AS
SELECT number, gen_random_uuid() AS task, now() - days * interval '1 day' AS ended,
  uuidv7(-days * interval '1 day') AS id
FROM generate_series(1, %(many)s) AS number, LATERAL (SELECT 500 * (number %% 2) AS days) AS age;
INSERT INTO kernel.tasks (tenant_id, task_id, principal, opened_at, closed_at)
SELECT %(tenant)s, task, 'key:x', ended, ended FROM public.filling;
INSERT INTO gateway.tasks (tenant_id, task_id, request_id, principal, instruction, source, kinds, state, trace_id,
  ended_at)
SELECT %(tenant)s, task, id, 'p', 'i', 's', '{}', 'x', 't', ended FROM public.filling;
INSERT INTO gateway.task_events (tenant_id, task_id, sequence, trace_id, event, received_at)
SELECT %(tenant)s, task, 1, 't', '', ended FROM public.filling;
INSERT INTO gateway.webhook_deliveries (tenant_id, endpoint_id, event_id, event_type, body, state, created_at, ended_at)
SELECT %(tenant)s, id, id, 't', '', 'failed', ended, ended FROM public.filling;
INSERT INTO gateway.outbox (tenant_id, id, task_id, type, subject, body, traceparent, causation_id, published_at)
SELECT %(tenant)s, id, task, 't', 's', '', '', id, ended FROM public.filling;
INSERT INTO gateway.inbox (tenant_id, message_id, consumer, type, received_at)
SELECT %(tenant)s, id, 'c', 't', ended FROM public.filling WHERE number > %(many)s / 4;
INSERT INTO gateway.dead_letters (tenant_id, message_id, consumer, type, subject, headers, body, reason, error,
  deliveries, trace_id, buried_at)
SELECT %(tenant)s, task, 'c', 't', 's', '{}', '', 'r', 'e', 1, '', ended FROM public.filling;
INSERT INTO codegen.leases (tenant_id, work_id, task_id, attempt, state, worker, timer_id, expires_at, updated_at)
SELECT %(tenant)s, id, task, 1, 'running', 'w', id, ended, ended FROM public.filling;
INSERT INTO codegen.steps (tenant_id, work_id, step, attempt, record, recorded_at)
SELECT %(tenant)s, id, 's', 1, '{}', ended FROM public.filling;
INSERT INTO orchestrator.tasks (tenant_id, task_id, instruction, source, kinds, state, graph_version, traceparent,
  ended_at, has_checkpoints)
SELECT %(tenant)s, task, 'i', 's', '{}', 'succeeded', 1, 't', ended, number > %(many)s / 2 FROM public.filling;
INSERT INTO orchestrator.steps (tenant_id, task_id, step, wave, service, state, command_id, timer_id, deadline)
SELECT %(tenant)s, task, 's', 'w', 'faqgen', 'succeeded', id, id, ended FROM public.filling;
INSERT INTO orchestrator.approvals (tenant_id, approval_id, task_id, kind, state, requester, resource, version,
  content_hash, summary, why, timer_id, expires_at, settled_at)
SELECT %(tenant)s, id, task, 'publishing', 'approved', 'p', 'r', 1, 'h', 's', 'w', id, ended, ended FROM public.filling;
INSERT INTO orchestrator.checkpoints (tenant_id, thread_id, checkpoint_id, checkpoint)
SELECT %(tenant)s, task::text, 'c', '{}' FROM public.filling;
INSERT INTO orchestrator.checkpoint_blobs (tenant_id, thread_id, channel, version, type)
SELECT %(tenant)s, task::text, 'c', 'v', 't' FROM public.filling;
INSERT INTO orchestrator.checkpoint_writes (tenant_id, thread_id, checkpoint_id, task_id, idx, channel, blob)
SELECT %(tenant)s, task::text, 'c', 't', 1, 'c', '' FROM public.filling;
INSERT INTO tenancy.reservations (tenant_id, call_id, task_id, model, day, state, prompt_tokens, completion_tokens,
  prompt_price, completion_price, money, expires_at)
SELECT %(tenant)s, id, task, 'm', current_date, 'settled', 1, 1, 1, 1, 1, ended FROM public.filling;
INSERT INTO tenancy.usage (tenant_id, day, task_id, model, calls, calls_in_full, prompt_tokens, completion_tokens,
  money)
SELECT %(tenant)s, ended::date, task, 'm', 1, 0, 1, 1, 1 FROM public.filling;
INSERT INTO tenancy.lifted_limits (tenant_id, task_id, lifted_at) SELECT %(tenant)s, task, ended FROM public.filling;
INSERT INTO docs.patches (tenant_id, change, task_id, patch_hash, patch, received_at)
SELECT %(tenant)s, id::text, task, encode(sha256('x'), 'hex'), 'x', ended FROM public.filling;
DROP TABLE public.filling
"""


def id_of(moment):
    """Version 7, as the outboxes make them."""
    return UUID(int=(int(moment.timestamp() * 1000) << 80) | (7 << 76) | (uuid4().int & ((1 << 76) - 1)))


def leave(tenant, *, days, ended=True):
    """The rows of a task that began and ended so many days ago, or is still open."""
    began = datetime.now(UTC) - timedelta(days=days)
    task, end = uuid4(), began if ended else None
    values = {"tenant": tenant.tenant_id, "task": task, "id": id_of(began), "work": id_of(began), "other": uuid4()}
    with psycopg.ClientCursor(psycopg.connect(tenant.database.admin_dsn)) as cursor:
        cursor.execute("SET session_replication_role = replica")  # the triggers want a session of the tenant
        cursor.execute(ROWS, values | {"began": began, "ended": end})
        cursor.connection.commit()
        cursor.connection.close()
    return task


def counts(tenant, tables=EVERY):
    return {
        name: tenant.database.rows(f"SELECT count(*) FROM {name} WHERE tenant_id = %s", tenant.tenant_id)[0][0]
        for name in tables
    }


def sweeper(database, service, **given):
    settings_class, make_retention = RULES.get(service, (ServiceSettings, lambda _: ()))
    settings = settings_class.model_construct(relay_dsn=database.dsn(f"{service}_relay"), **given)
    return Sweeper(service, settings, make_retention(settings))


async def sweep(database, **given):
    """Every service in turn, until none has anything left: a receipt waits for the sender's message to go."""
    for service in ("codegen", "orchestrator", "gateway", "faqgen", "docs", "tenancy") * 2:
        await sweeper(database, service, **given).sweep()


async def test_of_a_task_that_ended_long_ago_nothing_is_left(database, tenant):
    other = database.create_tenant("other")
    leave(tenant, days=500)
    leave(other, days=500)
    await sweep(database)
    assert set((counts(tenant) | counts(other)).values()) == {0}


async def test_of_an_open_task_nothing_is_deleted_however_old_it_is(database, tenant):
    leave(tenant, days=500, ended=False)
    before = counts(tenant)
    await sweep(database)
    of_no_open_task = {"faqgen.dead_letters", "tenancy.reservations", "tenancy.usage", "tenancy.lifted_limits"}
    assert {name for name, count in counts(tenant).items() if count < before[name]} == of_no_open_task


async def test_of_an_open_schedule_the_old_messages_and_leases_are_deleted(database, tenant):
    schedule_id = leave(tenant, days=15, ended=False)
    database.execute(f"UPDATE kernel.tasks SET schedule_id = task_id WHERE task_id = '{schedule_id}'")
    await sweep(database)
    swept = OF_MESSAGES | {"faqgen.leases", "codegen.leases", "kernel.tasks"}
    assert {name: count for name, count in counts(tenant, swept).items() if count} == {"kernel.tasks": 1}


async def test_of_a_task_that_ended_yesterday_only_what_it_worked_with_is_deleted(database, tenant):
    leave(tenant, days=2)
    await sweep(database)
    assert {name for name, count in counts(tenant).items() if not count} == OF_WORK


async def test_of_a_task_that_ended_weeks_ago_the_messages_are_deleted_and_what_clients_see_is_kept(database, tenant):
    leave(tenant, days=15)
    await sweep(database)
    gone = {name for name, count in counts(tenant).items() if not count}
    assert gone == OF_WORK | OF_MESSAGES | {"tenancy.reservations"}


async def test_a_tenant_with_nothing_over_hides_nobody_who_has(database, tenant):
    other = database.create_tenant("other")
    leave(tenant, days=500, ended=False)
    leave(other, days=500)
    await sweep(database, retention_batch_rows=1)
    assert counts(tenant, ["gateway.outbox"]) == {"gateway.outbox": 1}
    assert set(counts(other).values()) == {0}


async def test_a_receipt_is_kept_for_as_long_as_its_message(database, tenant):
    leave(tenant, days=15)
    await sweeper(database, "orchestrator").sweep()
    assert counts(tenant, ["gateway.outbox", "orchestrator.inbox"]) == {"gateway.outbox": 1, "orchestrator.inbox": 1}
    tenancy = Database(database.dsn("tenancy_app"))
    await tenancy.open()
    assert await resend_lost(tenancy, made_at=datetime.now(UTC)) == 0
    await tenancy.close()


async def test_a_message_that_waits_to_be_published_is_kept(database, tenant):
    leave(tenant, days=500)
    # The trigger wants a session of the tenant.
    database.execute("SET session_replication_role = replica; UPDATE gateway.outbox SET published_at = NULL")
    await sweeper(database, "gateway").sweep()
    assert counts(tenant, ["gateway.outbox"]) == {"gateway.outbox": 1}


@pytest.mark.parametrize(
    ("service", "function"),
    [
        ("gateway", "kernel.sweep_outbox"),
        *[("faqgen", f"kernel.sweep_{name}") for name in ("inbox", "leases", "dead_letters")],
        *[("orchestrator", f"orchestrator.sweep_{name}") for name in ("checkpoints", "tasks")],
        *[("gateway", f"gateway.sweep_{name}") for name in ("tasks", "webhook_deliveries")],
        *[("tenancy", f"tenancy.sweep_{name}") for name in ("usage", "ended_reservations", "lifted_limits")],
        *[("docs", "docs.sweep_patches"), ("codegen", "codegen.sweep_steps"), ("orchestrator", "kernel.sweep_tasks")],
    ],
)
def test_postgresql_keeps_what_is_young_whatever_a_relay_asks_for(database, tenant, service, function):
    leave(tenant, days=0)
    with psycopg.connect(database.dsn(f"{service}_relay"), autocommit=True) as connection:
        connection.execute(f"SELECT {function}('-1 year', 100)")
    assert set(counts(tenant).values()) == {1}


@pytest.mark.parametrize("login", ["gateway_app", "orchestrator_app", "gateway_sender"])
def test_nobody_but_a_relay_sweeps(database, login):
    with psycopg.connect(database.dsn(login)) as connection, pytest.raises(psycopg.errors.InsufficientPrivilege):
        connection.execute("SELECT kernel.sweep_outbox('1 day', 1)")


@pytest.mark.parametrize("function", ["orchestrator.sweep_tasks", "codegen.sweep_steps", "kernel.sweep_tasks"])
def test_a_relay_sweeps_nothing_of_another_service(database, function):
    with (
        psycopg.connect(database.dsn("gateway_relay")) as connection,
        pytest.raises(psycopg.errors.InsufficientPrivilege),
    ):
        connection.execute(f"SELECT {function}('1 day', 1)")


async def test_one_replica_sweeps_at_a_time(database, tenant):
    leave(tenant, days=500)
    with psycopg.connect(database.dsn("gateway_relay"), autocommit=True) as connection:
        connection.execute("SELECT pg_advisory_lock(hashtext('sweeper'), hashtext('gateway'))")
        assert await sweeper(database, "gateway").sweep() == {}
    assert counts(tenant, ["gateway.outbox"]) == {"gateway.outbox": 1}


async def test_a_service_sweeps_by_itself(database, tenant, eventually):
    leave(tenant, days=500)
    running = asyncio.create_task(sweeper(database, "gateway", retention_sweep_seconds=0.05).run())
    await eventually(lambda: counts(tenant, ["gateway.outbox"]) == {"gateway.outbox": 0})
    running.cancel()


@pytest.fixture(scope="module")
def full(postgres_server):
    with clone(postgres_server) as database:
        tenant = database.create_tenant("acme")
        with psycopg.ClientCursor(psycopg.connect(database.admin_dsn, autocommit=True)) as cursor:
            cursor.execute("SET session_replication_role = replica")
            cursor.execute(FULL_TABLES, {"tenant": tenant.tenant_id, "many": MANY})
            cursor.execute("ANALYZE")
            cursor.connection.close()
        yield database


@pytest.mark.parametrize(
    ("service", "function", "least"),
    [
        *[("gateway", f"kernel.sweep_{name}", 100) for name in ("outbox", "dead_letters")],
        ("gateway", "kernel.sweep_inbox", 0),  # their messages are there
        ("codegen", "kernel.sweep_leases", 100),
        ("codegen", "codegen.sweep_steps", 100),
        ("docs", "docs.sweep_patches", 100),
        *[("orchestrator", f"orchestrator.sweep_{name}", 100) for name in ("checkpoints", "tasks")],
        ("orchestrator", "kernel.sweep_tasks", 100),
        *[("gateway", f"gateway.sweep_{name}", 100) for name in ("tasks", "webhook_deliveries")],
        *[("tenancy", f"tenancy.sweep_{name}", 100) for name in ("usage", "ended_reservations", "lifted_limits")],
    ],
)
def test_a_batch_goes_through_no_whole_table(full, service, function, least):
    deleted, plans = explained(full, service, function)
    assert deleted >= least
    assert any("Index" in plan for plan in plans)
    assert [plan for plan in plans if WHOLE_TABLE.search(plan)] == []


def explained(database, service, function):
    """How many rows a batch deleted, and the plans of the statements inside the function, under the relay's login."""
    plans: list[str] = []
    with psycopg.connect(database.admin_dsn) as connection:
        connection.execute("LOAD 'auto_explain'")
        connection.execute("SET auto_explain.log_min_duration = 0")
        connection.execute("SET auto_explain.log_nested_statements = on")
        connection.execute("SET auto_explain.log_level = notice")
        connection.add_notice_handler(lambda notice: plans.append(notice.message_primary or ""))
        connection.execute(sql.SQL("SET SESSION AUTHORIZATION {}").format(sql.Identifier(f"{service}_relay")))
        row = connection.execute(f"SELECT {function}('100 days', 100)").fetchone()
        connection.rollback()
    return row[0], plans
