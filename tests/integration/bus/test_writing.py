"""What a session emits is written by the commit of its transaction, under the proof that stood when it was emitted."""

from __future__ import annotations

from contextlib import suppress
from uuid import uuid4

import pytest

from morningai.api.events.v1 import events_pb2 as events
from morningai.bus import inbox, outbox
from morningai.bus.catalogue import message_type
from morningai.bus.envelope import Envelope
from morningai.db.session import Database
from morningai.errors import Poison

OUTBOX = "SELECT id, published_at IS NULL, split_part(seal, '|', 7) FROM gateway.outbox ORDER BY due_at, id"
INBOX = "SELECT message_id FROM gateway.inbox"
MANY = 9


@pytest.fixture
async def gateway(database):
    opened = Database(database.dsn("gateway_app"))
    await opened.open()
    yield opened
    await opened.close()


async def emit(session, task_id, **when):
    return await outbox.emit(session, events.TaskRequested(instruction="why?"), task_id=task_id, **when)


def envelope_of(database, message_id, **other):
    ((tenant_id, task_id, seal),) = database.rows(
        "SELECT tenant_id, task_id, seal FROM gateway.outbox WHERE id = %s", message_id
    )
    entry = message_type(events.TaskRequested)
    parts = {"id": message_id, "tenant_id": tenant_id, "task_id": task_id, "seal": seal} | other
    return Envelope(type=entry, source="test", traceparent="", body=b"", **parts)


async def sent(gateway, database, tenant, **other):
    async with gateway.tenant_session(tenant.grant()) as session:
        message_id = await emit(session, uuid4())
    return envelope_of(database, message_id, **other)


async def test_messages_are_written_with_the_commit_in_the_order_in_which_they_were_emitted(gateway, database, tenant):
    async with gateway.tenant_session(tenant.grant()) as session:
        emitted = [await emit(session, uuid4()) for _ in range(MANY)]
        assert await session.rows("SELECT 1 FROM outbox") == []
    assert [(message_id, str(message_id)) for message_id in emitted] == [
        (message_id, sealed) for message_id, _, sealed in database.rows(OUTBOX)
    ]


async def test_nothing_is_written_when_the_transaction_fails(gateway, database, tenant):
    with suppress(ZeroDivisionError):
        async with gateway.tenant_session(tenant.grant()) as session:
            await emit(session, uuid4())
            raise ZeroDivisionError
    assert database.rows(OUTBOX) == []


async def test_a_timer_is_withdrawn_by_the_transaction_that_set_it(gateway, database, tenant):
    async with gateway.tenant_session(tenant.grant()) as session:
        timer_id = await emit(session, uuid4(), delay_seconds=60)
        await outbox.withdraw(session, timer_id)
    assert database.rows(OUTBOX) == [(timer_id, False, str(timer_id))]


async def test_what_a_savepoint_lost_is_not_written(gateway, database, tenant):
    async with gateway.tenant_session(tenant.grant()) as session:
        before = await emit(session, uuid4())
        with suppress(ZeroDivisionError):
            async with session.savepoint():
                await emit(session, uuid4())
                raise ZeroDivisionError
        async with session.savepoint():
            inside = await emit(session, uuid4())
        after = await emit(session, uuid4())
    assert [message_id for message_id, _, _ in database.rows(OUTBOX)] == [before, inside, after]


async def test_each_message_is_sealed_under_the_proof_that_stood_when_it_was_emitted(gateway, database, tenant):
    first, second = [await sent(gateway, database, tenant) for _ in range(2)]
    database.rows("UPDATE kernel.tasks SET principal = 'key:mk_other' WHERE task_id = %s RETURNING 1", second.task_id)
    async with gateway.tenant_transaction() as transaction:
        emitted = []
        for envelope in (first, second):
            session, _ = await inbox.receive(transaction, [envelope], consumer="test")
            emitted.append(await emit(session, envelope.task_id))  # under the other's seal it would be refused
    tasks = dict(database.rows("SELECT id, split_part(seal, '|', 6) FROM gateway.outbox"))
    assert [tasks[message_id] for message_id in emitted] == [str(first.task_id), str(second.task_id)]


async def test_what_is_emitted_in_a_session_that_no_longer_stands_fails(gateway, database, tenant):
    transacting = gateway.tenant_transaction()
    transaction = await transacting.__aenter__()
    earlier, _ = [await transaction.open_session(tenant.grant()) for _ in range(2)]
    await emit(earlier, uuid4())
    with pytest.raises(RuntimeError, match="after another"):
        await transacting.__aexit__(None, None, None)
    assert database.rows(OUTBOX) == []


async def test_of_several_messages_each_leaves_its_receipt_once(gateway, database, tenant):
    envelopes = [await sent(gateway, database, tenant) for _ in range(3)]
    for received, are_new in ((envelopes[:2], [True, True]), (envelopes, [False, False, True])):
        async with gateway.tenant_transaction() as transaction:
            session, found = await inbox.receive(transaction, received, consumer="test")
        assert found == are_new
        assert session.message_id == received[-1].id
    assert {message_id for (message_id,) in database.rows(INBOX)} == {envelope.id for envelope in envelopes}


@pytest.mark.parametrize("spoilt", ["id", "task_id", "tenant_id", "seal"])
async def test_one_whose_seal_is_another_s_leaves_no_receipt_of_any(gateway, database, tenant, spoilt):
    good = await sent(gateway, database, tenant)
    bad = await sent(gateway, database, tenant, **{spoilt: "k1|s|nothing" if spoilt == "seal" else uuid4()})
    with pytest.raises(Poison, match="seal of"):
        async with gateway.tenant_transaction() as transaction:
            await inbox.receive(transaction, [good, bad], consumer="test")
    assert database.rows(INBOX) == []


async def test_messages_of_two_tenants_are_not_received_together(gateway, database, tenant):
    other = database.create_tenant("other")
    envelopes = [await sent(gateway, database, owner) for owner in (tenant, other)]
    with pytest.raises(Poison, match="seal of"):
        async with gateway.tenant_transaction() as transaction:
            await inbox.receive(transaction, envelopes, consumer="test")
    assert database.rows(INBOX) == []
