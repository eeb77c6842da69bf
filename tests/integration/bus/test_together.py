"""Messages of one task that arrive together take effect in one transaction, each under its own seal."""

from __future__ import annotations

import asyncio
from uuid import uuid4

import pytest

from morningai.api.events.v1 import events_pb2 as events
from morningai.bus.handling import Group
from morningai.bus.work import Long
from morningai.errors import Poison, Unauthenticated
from tests.integration.bus.test_settle import codegen, ignore, orchestrator, send

REPLY = events.ChangeGenerated(state="verified")
RECEIVED = "SELECT count(*), count(DISTINCT xmin::text) FROM orchestrator.inbox"
MESSAGES = 6


async def sent_together(start_service, tenant, on_reply):
    """Of one task, and held back until the receiver's first message is in its handler."""
    sender = await start_service("codegen", codegen(Long(ignore)))
    await start_service("orchestrator", orchestrator(on_reply))
    task_id = tenant.open_task(uuid4())
    return task_id, [await send(sender, tenant, REPLY, task_id=task_id, to="") for _ in range(MESSAGES)]


async def test_what_waits_for_a_message_of_its_task_is_handled_together(start_service, tenant, database, eventually):
    seen = []

    async def on_reply(session, envelope, message):
        seen.append((envelope.id, session.message_id))
        await asyncio.sleep(0.3 if len(seen) == 1 else 0)

    _, sent = await sent_together(start_service, tenant, on_reply)
    await eventually(lambda: len(seen) == MESSAGES)
    assert sorted(seen) == sorted((message, message) for message in sent)
    await eventually(lambda: database.rows(RECEIVED)[0][0] == MESSAGES)
    assert database.rows(RECEIVED)[0][1] <= 3


async def test_one_that_fails_leaves_the_others_their_effect(start_service, tenant, database, eventually):
    seen = []

    async def on_reply(session, envelope, message):
        seen.append(envelope.id)
        await asyncio.sleep(0.3 if len(seen) == 1 else 0)
        if envelope.id == poisoned[0]:
            raise Poison("This one cannot be handled.")

    poisoned = [None]
    _, sent = await sent_together(start_service, tenant, on_reply)
    poisoned[0] = sent[3]
    await eventually(lambda: database.rows("SELECT message_id FROM orchestrator.dead_letters") == [(sent[3],)])
    await eventually(lambda: database.rows(RECEIVED)[0][0] == MESSAGES - 1)
    kept = {message for (message,) in database.rows("SELECT message_id FROM orchestrator.inbox")}
    assert kept == set(sent) - {sent[3]}


async def test_a_transaction_that_is_lost_takes_no_effect_of_any_and_each_comes_again(
    start_service, tenant, database, eventually
):
    seen, ended = [], []

    async def on_reply(session, envelope, message):
        seen.append(envelope.id)
        await asyncio.sleep(0.3 if len(seen) == 1 else 0)
        if len(seen) == MESSAGES and not ended:
            ended.append(envelope.id)
            await session.execute("SELECT pg_terminate_backend(pg_backend_pid())")

    _, sent = await sent_together(start_service, tenant, on_reply)
    await eventually(lambda: database.rows(RECEIVED)[0][0] == MESSAGES)
    assert ended
    assert set(seen) == set(sent)


async def sent_to_group(start_service, tenant, handle):
    sender = await start_service("codegen", codegen(Long(ignore)))
    handlers = orchestrator() | {type(REPLY): Group(handle)}
    await start_service("orchestrator", handlers)
    task_id = tenant.open_task(uuid4())
    return [await send(sender, tenant, REPLY, task_id=task_id, to="") for _ in range(MESSAGES)]


async def test_a_group_is_handled_at_once(start_service, tenant, database, eventually):
    groups = []

    async def handle(session, received):
        groups.append([envelope.id for envelope, message in received if message == REPLY])
        await asyncio.sleep(0.3 if len(groups) == 1 else 0)

    sent = await sent_to_group(start_service, tenant, handle)
    await eventually(lambda: database.rows(RECEIVED)[0][0] == MESSAGES)
    assert sorted(message for group in groups for message in group) == sorted(sent)
    assert len(groups) <= 3


async def test_one_of_a_group_that_fails_leaves_the_others_their_effect(start_service, tenant, database, eventually):
    count, poisoned = [], []

    async def handle(session, received):
        count.append(len(received))
        await asyncio.sleep(0.3 if len(count) == 1 else 0)
        if poisoned and poisoned[0] in [envelope.id for envelope, _ in received]:
            raise Poison("This one cannot be handled.")

    sent = await sent_to_group(start_service, tenant, handle)
    poisoned.append(sent[3])
    await eventually(lambda: database.rows("SELECT message_id FROM orchestrator.dead_letters") == [(sent[3],)])
    await eventually(lambda: database.rows(RECEIVED)[0][0] == MESSAGES - 1)


async def test_one_transaction_never_serves_two_tenants(start_service, tenant, database):
    service = await start_service("orchestrator", orchestrator())
    other = database.create_tenant("other")
    async with service.database.tenant_transaction() as transaction:
        await transaction.open_session(tenant.grant())
        with pytest.raises(Unauthenticated, match="another tenant"):
            await transaction.open_session(other.grant())
