"""The copies that subscribers may see: the same events, without the seal and whatever else is internal."""

from __future__ import annotations

from uuid import UUID, uuid4

import pytest

from morningai.bus import outbox, subjects
from morningai.bus.catalogue import CATALOGUE
from morningai.bus.handling import Short
from morningai.bus.topology import STREAMS

PRODUCERS = ("orchestrator", "docs", "faqgen", "codegen")
VISIBLE_HEADERS = {
    *("ce-specversion", "ce-id", "ce-type", "ce-source", "ce-subject", "ce-time", "ce-tenantid"),
    *("traceparent", "content-type", "Nats-Msg-Id"),
}


HELD = {subjects.PUBLIC_STREAM: "morningai.public.>", subjects.EVENTS_STREAM: "morningai.event.>"}


async def ignore(session, envelope, message):
    return None


def handlers(service):
    return {message.body: Short(ignore) for message in CATALOGUE if service in message.consumers}


def events_of(service, *, public):
    produced = [message for message in CATALOGUE if message.kind == "event" and service in message.producers]
    return [message for message in produced if message.public == public]


async def emit(service, tenant, message, **more):
    async with service.database.tenant_session(tenant.grant()) as session:
        return await outbox.emit(session, message.body(), task_id=tenant.open_task(uuid4()), **more)


async def held(spectator, stream):
    """Every message of a stream, oldest first."""
    count = (await spectator.stream_info(stream)).state.messages
    subscription = await spectator.subscribe(HELD[stream], stream=stream)
    messages = [await subscription.next_msg(timeout=5) for _ in range(count)]
    await subscription.unsubscribe()
    return messages


def published(database, service):
    return len(database.rows(f"SELECT 1 FROM {service}.outbox WHERE published_at IS NOT NULL"))


@pytest.mark.parametrize("producer", PRODUCERS)
async def test_a_public_event_is_copied_without_what_is_internal(
    producer, start_service, tenant, database, spectator, eventually
):
    service = await start_service(producer, handlers(producer))
    expected = events_of(producer, public=True)
    ids = [await emit(service, tenant, message, causation_id=uuid4(), work_id=uuid4()) for message in expected]
    await eventually(lambda: published(database, producer) == len(expected))
    copies = await held(spectator, subjects.PUBLIC_STREAM)
    assert {UUID(copy.headers["ce-id"]) for copy in copies} == set(ids)
    assert {copy.subject for copy in copies} == {
        subjects.public_subject(tenant.tenant_id, message.context, message.event) for message in expected
    }
    assert [set(copy.headers) for copy in copies] == [VISIBLE_HEADERS] * len(copies)


@pytest.mark.parametrize("producer", ["gateway", "docs", "faqgen"])
async def test_an_internal_event_is_not_copied(producer, start_service, tenant, database, spectator, eventually):
    service = await start_service(producer, handlers(producer))
    internal = events_of(producer, public=False)
    for message in internal:
        await emit(service, tenant, message)
    await eventually(lambda: published(database, producer) == len(internal))
    assert await held(spectator, subjects.PUBLIC_STREAM) == []
    assert len(await held(spectator, subjects.EVENTS_STREAM)) == len(internal)


async def test_no_seal_is_in_a_copy(start_service, tenant, database, spectator, eventually):
    service = await start_service("faqgen", handlers("faqgen"))
    for message in events_of("faqgen", public=True):
        await emit(service, tenant, message)
    await eventually(lambda: published(database, "faqgen") == len(events_of("faqgen", public=True)))
    seals = [str(seal).encode() for (seal,) in database.rows("SELECT seal FROM faqgen.outbox")]
    wire = b"".join(m.data + repr(m.headers).encode() for m in await held(spectator, subjects.PUBLIC_STREAM))
    internal = b"".join(repr(m.headers).encode() for m in await held(spectator, subjects.EVENTS_STREAM))
    assert [seal in internal for seal in seals] == [True] * len(seals)
    assert [seal in wire for seal in seals] == [False] * len(seals)


async def test_an_event_is_marked_published_only_when_its_copy_is_too(
    start_service, tenant, database, spectator, eventually
):
    service = await start_service("faqgen", handlers("faqgen"))
    await spectator.delete_stream(subjects.PUBLIC_STREAM)
    tries = await spectator._nc.subscribe("morningai.event.>")
    (message, *_) = events_of("faqgen", public=True)
    await emit(service, tenant, message)
    for _ in range(3):
        await tries.next_msg(timeout=5)
    assert published(database, "faqgen") == 0
    await spectator.add_stream(STREAMS[2])
    await eventually(lambda: published(database, "faqgen") == 1)
    assert len(await held(spectator, subjects.PUBLIC_STREAM)) == 1
    assert len(await held(spectator, subjects.EVENTS_STREAM)) == 1


async def test_an_event_whose_relay_died_before_it_was_marked_is_held_once_in_both_streams(
    start_service, tenant, database, spectator, eventually
):
    service = await start_service("faqgen", handlers("faqgen"))
    copies = await spectator._nc.subscribe("morningai.public.>")
    (message, *_) = events_of("faqgen", public=True)
    message_id = await emit(service, tenant, message)
    await copies.next_msg(timeout=5)
    await eventually(lambda: published(database, "faqgen") == 1)
    async with service.database.tenant_session(tenant.grant()) as session:
        await session.execute("UPDATE outbox SET published_at = NULL WHERE id = %(id)s", {"id": message_id})
        session.wakes_relay = True
    await copies.next_msg(timeout=5)
    await eventually(lambda: published(database, "faqgen") == 1)
    assert len(await held(spectator, subjects.PUBLIC_STREAM)) == 1
    assert len(await held(spectator, subjects.EVENTS_STREAM)) == 1


async def test_a_copy_goes_to_the_tenant_of_the_proof_whatever_the_row_says(
    start_service, tenant, database, spectator, eventually
):
    service = await start_service("faqgen", handlers("faqgen"))
    (message, *_) = events_of("faqgen", public=True)
    other = database.create_tenant("other")
    statement = """
        INSERT INTO outbox (task_id, type, subject, body, traceparent, tenant_id)
        VALUES (%(id)s, %(type)s, %(subject)s, '', '', %(other)s)
    """
    subject = subjects.event_subject(other.tenant_id, message.context, message.event)
    async with service.database.tenant_session(tenant.grant()) as session:
        values = {"id": tenant.open_task(uuid4()), "type": message.name, "subject": subject, "other": other.tenant_id}
        await session.execute(statement, values)
        session.wakes_relay = True
    await eventually(lambda: published(database, "faqgen") == 1)
    (copy,) = await held(spectator, subjects.PUBLIC_STREAM)
    assert copy.subject.split(".")[2] == copy.headers["ce-tenantid"] == str(tenant.tenant_id)
