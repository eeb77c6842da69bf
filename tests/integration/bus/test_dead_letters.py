"""A dead letter is delivered again once, under its own seal, and what came of it is known; on real NATS."""

from __future__ import annotations

import pytest

from morningai.api.events.v1 import events_pb2 as events
from morningai.bus.losses import resend_lost
from morningai.bus.work import Long
from morningai.db.session import Database
from morningai.errors import Permanent, Poison
from services.tenancy.domain.dead_letters import LetterKey
from services.tenancy.repository import dead_letters
from tests.integration.bus.test_losses import LATER
from tests.integration.bus.test_settle import codegen, ignore, orchestrator, send

CHANGE = events.ChangeGenerated(state="verified")
BURIED = "SELECT state, reason FROM orchestrator.dead_letters"


@pytest.fixture
async def tenancy(database):
    pool = Database(database.dsn("tenancy_app"))
    await pool.open()
    yield pool
    await pool.close()


@pytest.fixture
async def buried(start_service, database, tenant, eventually):
    """The key of a message whose receiver failed, and the receiver's next failures: none is left."""
    failures: list[Exception] = [Poison("not yet")]
    handled = []

    async def on_reply(session, envelope, message):
        if failures:
            raise failures.pop()
        handled.append(envelope)

    await start_service("orchestrator", orchestrator(on_reply))
    sender = await start_service("codegen", codegen(Long(ignore)))
    message_id = await send(sender, tenant, CHANGE, to="")
    await eventually(lambda: database.rows(BURIED))
    return LetterKey("orchestrator-replies", message_id), failures, handled


async def replay(tenancy, tenant, key):
    async with tenancy.tenant_session(tenant.grant()) as session:
        return await dead_letters.replay_letter(session, key)


async def test_a_replayed_message_takes_effect_once_for_whom_it_was_sent(tenancy, tenant, database, eventually, buried):
    key, _, handled = buried
    before = database.rows("SELECT split_part(seal, '|', 4) FROM codegen.outbox")
    assert [await replay(tenancy, tenant, key) for _ in range(3)] == ["replayed"] * 3
    await eventually(lambda: handled)
    assert [envelope.id for envelope in handled] == [key.message_id]
    assert database.rows("SELECT message_id FROM orchestrator.inbox") == [(key.message_id,)]
    assert database.rows(BURIED) == [("replayed", "POISON")]
    assert database.rows("SELECT split_part(seal, '|', 4) FROM codegen.outbox") == before


async def test_the_seal_stays_that_of_who_asked_for_the_task(tenancy, tenant, database, eventually, buried):
    key, _, handled = buried
    part = "SELECT split_part(seal, '|', 4), split_part(seal, '|', 5) FROM codegen.outbox"
    database.execute("UPDATE codegen.outbox SET seal = replace(seal, 'key:', 'key:asked_for_it_')")
    before = database.rows(part)
    await replay(tenancy, tenant, key)
    await eventually(lambda: handled)
    assert database.rows(part) == before


async def test_what_fails_again_is_buried_again_and_can_be_replayed_again(
    tenancy, tenant, database, eventually, buried
):
    key, failures, handled = buried
    failures.append(Permanent("still not"))
    await replay(tenancy, tenant, key)
    await eventually(lambda: database.rows(BURIED) == [("buried", "PERMANENT")])
    await replay(tenancy, tenant, key)
    await eventually(lambda: handled)
    assert database.rows(BURIED) == [("replayed", "PERMANENT")]


async def test_a_message_that_was_received_meanwhile_is_not_delivered_again(tenancy, tenant, database, buried):
    key, _, handled = buried
    database.rows(
        "INSERT INTO orchestrator.inbox (tenant_id, message_id, consumer, type) VALUES (%s, %s, 'c', 't') RETURNING 1",
        tenant.tenant_id,
        key.message_id,
    )
    assert await replay(tenancy, tenant, key) == "received"
    assert database.rows("SELECT 1 FROM codegen.outbox WHERE published_at IS NULL") == []
    assert handled == []


async def test_a_message_whose_seal_is_over_is_not_delivered_again(tenancy, tenant, database, buried):
    key, _, _ = buried
    database.execute("UPDATE kernel.tasks SET closed_at = now() - interval '9 days'")
    assert await replay(tenancy, tenant, key) == "ended"


async def test_a_fact_outlives_its_task_by_days_and_is_delivered_again(tenancy, tenant, database, eventually, buried):
    key, _, handled = buried
    database.execute("UPDATE kernel.tasks SET closed_at = now() - interval '7 days'")
    assert await replay(tenancy, tenant, key) == "replayed"
    await eventually(lambda: handled)


async def test_a_message_that_its_sender_has_forgotten_is_not_delivered_again(tenancy, tenant, database, buried):
    key, _, _ = buried
    database.execute("DELETE FROM codegen.outbox")
    assert await replay(tenancy, tenant, key) == "forgotten"


async def test_another_tenant_neither_sees_replays_nor_drops_it(tenancy, tenant, database, buried):
    key, _, _ = buried
    async with tenancy.tenant_session(database.create_tenant("other").grant()) as session:
        assert await dead_letters.get_letter(session, key) is None
        assert await dead_letters.replay_letter(session, key) == "missing"
        assert await dead_letters.drop_letter(session, key, "mine") == "missing"
    assert database.rows(BURIED) == [("buried", "POISON")]
    assert database.rows("SELECT 1 FROM codegen.outbox WHERE published_at IS NULL") == []


async def test_what_was_replayed_and_is_lost_with_the_bus_is_sent_again(tenancy, database, eventually, buried):
    key, _, handled = buried
    assert await resend_lost(tenancy, made_at=LATER) == 0
    database.execute("UPDATE orchestrator.dead_letters SET state = 'replayed'")
    database.execute("UPDATE kernel.bus SET made_at = '2020-01-01'")
    assert await resend_lost(tenancy, made_at=LATER) == 1
    await eventually(lambda: [envelope.id for envelope in handled] == [key.message_id])
