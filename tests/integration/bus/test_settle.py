"""Each outcome of settling a message, on real NATS and real PostgreSQL."""

from __future__ import annotations

import asyncio
import json
from itertools import pairwise
from uuid import UUID, uuid4

import pytest

from morningai.api.events.v1 import events_pb2 as events
from morningai.bus import outbox
from morningai.bus.handling import Short
from morningai.bus.work import Long, request_cancel
from morningai.errors import Permanent, Poison, Retryable, StepFailure
from tests.conftest import PASSWORD

SNAPSHOT = events.Snapshot(name="snapshots/1", source="sources/acme", repository="acme", commit="c" * 40)
COMMAND = events.GenerateChange(instruction="fix it", snapshot=SNAPSHOT)


async def ignore(session, envelope, message):
    return None


def codegen(handler):
    return {events.GenerateChange: handler, events.CancelWork: Short(on_cancel)}


async def on_cancel(session, envelope, message):
    await request_cancel(session, envelope.task_id, message.command_ids)


def orchestrator(on_reply=ignore):
    replies = (
        events.SourceIndexed,
        events.AnswerGenerated,
        events.FaqGenerated,
        events.DocumentGenerated,
        events.DocumentPublished,
        events.ChangeGenerated,
        events.ChangeDelivered,
        events.StepFailed,
    )
    return {
        events.TaskRequested: Short(ignore),
        events.CancelTask: Short(ignore),
        events.StartTask: Short(ignore),
        events.StepTimedOut: Short(ignore),
        events.ApprovalDue: Short(ignore),
        events.ExpireTask: Short(ignore),
        **dict.fromkeys(replies, Short(on_reply)),
    }


async def send(sender, tenant, message=COMMAND, *, task_id: UUID | None = None, to="codegen") -> UUID:
    task_id = task_id or tenant.open_task(uuid4())
    async with sender.database.tenant_session(tenant.grant()) as session:
        return await outbox.emit(session, message, task_id=task_id, to=to)


def finish_with(work, *messages):
    async def finish(session):
        for message in messages:
            await outbox.emit(session, message, task_id=work.task_id, causation_id=work.work_id)

    return finish


async def test_a_handled_message_is_acknowledged_and_takes_effect_once(start_service, tenant, database, eventually):
    replies = []

    async def on_reply(session, envelope, message):
        replies.append(message.state)

    async def work(work, message):
        return finish_with(work, events.ChangeGenerated(state="verified"))

    sender = await start_service("orchestrator", orchestrator(on_reply))
    await start_service("codegen", codegen(Long(work)))
    await send(sender, tenant)
    await eventually(lambda: replies == ["verified"])
    await asyncio.sleep(0.3)
    assert replies == ["verified"]
    assert database.rows("SELECT state, attempt FROM codegen.leases") == [("finished", 1)]


async def test_work_three_times_longer_than_the_acknowledgement_wait_runs_once(
    start_service, tenant, database, eventually
):
    attempts = []

    async def work(work, message):
        attempts.append(work.attempt)
        await asyncio.sleep(3.2)
        return finish_with(work, events.ChangeGenerated(state="verified"))

    sender = await start_service("orchestrator", orchestrator())
    await start_service("codegen", codegen(Long(work)), ack_wait_seconds=1, lease_seconds=1.5)
    await send(sender, tenant)
    await eventually(lambda: database.rows("SELECT 1 FROM codegen.leases WHERE state = 'finished'"))
    await asyncio.sleep(0.5)
    assert attempts == [1]


async def test_a_short_handler_three_times_slower_than_the_acknowledgement_wait_gets_its_message_once(
    start_service, tenant, database, eventually
):
    async def on_reply(session, envelope, message):
        await asyncio.sleep(3.2)

    receiver = await start_service("orchestrator", orchestrator(on_reply), ack_wait_seconds=1)
    sender = await start_service("codegen", codegen(Long(ignore)))
    await send(sender, tenant, events.ChangeGenerated(state="verified"), to="")
    await eventually(lambda: database.rows("SELECT 1 FROM orchestrator.inbox"))
    await nothing_is_left(receiver)
    assert await deliveries(receiver) == 1


async def deliveries(service):
    infos = [
        await service.bus.jetstream.consumer_info(subscription.stream, subscription.durable)
        for subscription in service.bus.subscriptions
    ]
    return sum(info.delivered.consumer_seq for info in infos)


async def test_a_retryable_error_of_a_short_handler_returns_the_message_with_a_delay(
    start_service, tenant, database, eventually
):
    times = []

    async def on_reply(session, envelope, message):
        times.append(asyncio.get_running_loop().time())
        if len(times) < 3:
            raise Retryable("not yet", retry_after_seconds=0.4)

    receiver = await start_service("orchestrator", orchestrator(on_reply))
    sender = await start_service("codegen", codegen(Long(ignore)))
    await send(sender, tenant, events.ChangeGenerated(state="verified"), to="")
    await eventually(lambda: len(times) == 3)
    assert min(later - earlier for earlier, later in pairwise(times)) >= 0.35
    await eventually(lambda: database.rows("SELECT 1 FROM orchestrator.inbox"))
    assert database.rows("SELECT 1 FROM orchestrator.dead_letters") == []
    assert receiver.relay.active


async def test_what_comes_where_it_may_not_be_sent_is_a_dead_letter_and_does_nothing(
    start_service, tenant, database, eventually
):
    """Who may publish on one subject of a service would else command whatever that service does."""
    handled = []

    async def on_cancel(session, envelope, message):
        handled.append(message)

    sender = await start_service("orchestrator", orchestrator())
    await start_service("codegen", {events.GenerateChange: Long(ignore), events.CancelWork: Short(on_cancel)})
    task_id = tenant.open_task(uuid4())
    async with sender.database.tenant_session(tenant.grant()) as session:
        await outbox.emit(session, events.CancelWork(), task_id=task_id, to="codegen", due_at=outbox.HELD)
    database.execute("UPDATE orchestrator.outbox SET subject = 'morningai.command.codegen', due_at = now()")
    sender.relay.wake()
    await eventually(lambda: database.rows("SELECT reason FROM codegen.dead_letters") == [("POISON",)])
    assert handled == []


@pytest.mark.parametrize(
    ("error", "reason"),
    [(Permanent("cannot"), "PERMANENT"), (Poison("never"), "POISON"), (Retryable("again"), "RETRYABLE")],
)
async def test_a_message_that_cannot_be_handled_becomes_a_dead_letter(
    start_service, tenant, database, eventually, error, reason
):
    async def on_reply(session, envelope, message):
        raise error

    await start_service("orchestrator", orchestrator(on_reply), max_deliveries=2)
    sender = await start_service("codegen", codegen(Long(ignore)))
    message_id = await send(sender, tenant, events.ChangeGenerated(state="verified"), to="")
    await eventually(lambda: database.rows("SELECT 1 FROM orchestrator.dead_letters"))
    rows = database.rows("SELECT tenant_id, message_id, reason, headers ? 'ce-seal' FROM orchestrator.dead_letters")
    assert rows == [(tenant.tenant_id, message_id, reason, False)]
    assert database.rows("SELECT 1 FROM orchestrator.inbox") == []


@pytest.mark.parametrize("error", [Permanent("a\x00b\ud800"), ZeroDivisionError("\x00"), StepFailure("a\x00", "b")])
async def test_a_dead_letter_holds_whatever_its_error_says(start_service, tenant, database, eventually, error):
    async def on_reply(session, envelope, message):
        raise error

    receiver = await start_service("orchestrator", orchestrator(on_reply), max_deliveries=1)
    sender = await start_service("codegen", codegen(Long(ignore)))
    await send(sender, tenant, events.ChangeGenerated(state="verified"), to="")
    await eventually(lambda: database.rows("SELECT 1 FROM orchestrator.dead_letters"))
    await nothing_is_left(receiver)


async def test_a_dead_letter_names_no_credential(start_service, tenant, database, eventually):
    async def on_reply(session, envelope, message):
        raise Permanent(f"refused {envelope.seal}")

    await start_service("orchestrator", orchestrator(on_reply), max_deliveries=1)
    sender = await start_service("codegen", codegen(Long(ignore)))
    await send(sender, tenant, events.ChangeGenerated(state="verified"), to="")
    await eventually(lambda: database.rows("SELECT 1 FROM orchestrator.dead_letters"))
    [(row,)] = database.rows("SELECT to_jsonb(d) - 'body' FROM orchestrator.dead_letters AS d")
    assert row["error"] == "refused [hidden]"
    assert "|s|" not in str(row)
    assert "|f|" not in str(row)


async def test_a_handler_whose_row_postgresql_refuses_ends_in_a_dead_letter(
    start_service, tenant, database, eventually
):
    async def on_reply(session, envelope, message):
        await session.execute(
            "INSERT INTO inbox (message_id, consumer, type) VALUES (%(id)s, %(text)s, '')",
            {"id": envelope.id, "text": "a\x00b"},
        )

    receiver = await start_service("orchestrator", orchestrator(on_reply), max_deliveries=2)
    sender = await start_service("codegen", codegen(Long(ignore)))
    await send(sender, tenant, events.ChangeGenerated(state="verified"), to="")
    await eventually(lambda: database.rows("SELECT 1 FROM orchestrator.dead_letters"))
    assert database.rows("SELECT tenant_id, reason FROM orchestrator.dead_letters") == [(tenant.tenant_id, "DataError")]
    await nothing_is_left(receiver)


async def nothing_is_left(service):
    """Nothing is left at the bus that was delivered and not answered."""
    await asyncio.sleep(0.3)
    for subscription in service.bus.subscriptions:
        info = await service.bus.jetstream.consumer_info(subscription.stream, subscription.durable)
        assert info.num_ack_pending == 0


@pytest.mark.parametrize("name", ["ce-seal", "ce-id", "ce-type", "ce-subject", "traceparent", "ce-other"])
@pytest.mark.parametrize("value", [b"a\x00b", b"\xed\xa0\x80", b"x" * 5000], ids=["nul", "surrogate", "long"])
async def test_a_message_with_a_header_that_no_row_holds_is_quarantined(
    start_service, tenant, database, eventually, name, value
):
    receiver = await start_service("orchestrator", orchestrator())
    headers = {
        "ce-id": str(uuid4()),
        "ce-type": "morningai.api.events.v1.ChangeGenerated",
        "ce-tenantid": str(tenant.tenant_id),
        "ce-subject": f"tasks/{uuid4()}",
        "ce-seal": "x",
    }
    lines = b"".join(f"{key}: ".encode() + text.encode() + b"\r\n" for key, text in headers.items() if key != name)
    block = b"NATS/1.0\r\n" + lines + name.encode() + b": " + value + b"\r\n\r\n"
    await publish_raw(receiver, f"morningai.event.{tenant.tenant_id}.change.generated", block)
    await eventually(lambda: database.rows("SELECT 1 FROM orchestrator.dead_letters"))
    assert database.rows("SELECT tenant_id FROM orchestrator.dead_letters") == [(UUID(int=0),)]
    await nothing_is_left(receiver)


async def publish_raw(service, subject, block):
    """By the protocol itself, as codegen: the client refuses such headers."""
    host, port = service.settings.nats_url.removeprefix("nats://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    await reader.readline()
    login = json.dumps({"user": "codegen", "pass": PASSWORD, "headers": True, "verbose": False})
    writer.write(f"CONNECT {login}\r\nHPUB {subject} {len(block)} {len(block)}\r\n".encode() + block)
    writer.write(b"\r\nPING\r\n")
    assert await reader.readline() == b"PONG\r\n"
    writer.close()
    await writer.wait_closed()


async def test_an_unknown_error_rolls_back_and_is_tried_again(start_service, tenant, database, eventually):
    calls = []

    async def on_reply(session, envelope, message):
        await outbox.emit(session, events.CancelWork(), task_id=envelope.task_id, to="docs")
        calls.append(1)
        if len(calls) == 1:
            raise ZeroDivisionError

    await start_service("orchestrator", orchestrator(on_reply))
    sender = await start_service("codegen", codegen(Long(ignore)))
    await send(sender, tenant, events.ChangeGenerated(state="verified"), to="")
    await eventually(lambda: len(calls) == 2)
    await eventually(lambda: database.rows("SELECT 1 FROM orchestrator.inbox"))
    assert len(database.rows("SELECT 1 FROM orchestrator.outbox")) == 1


async def test_a_forged_seal_is_quarantined_and_has_no_effect(start_service, tenant, database, eventually):
    handled = []

    async def on_reply(session, envelope, message):
        handled.append(1)

    await start_service("orchestrator", orchestrator(on_reply))
    sender = await start_service("codegen", codegen(Long(ignore)))
    headers = {
        "ce-id": str(uuid4()),
        "ce-type": "morningai.api.events.v1.ChangeGenerated",
        "ce-tenantid": str(tenant.tenant_id),
        "ce-subject": f"tasks/{uuid4()}",
        "ce-seal": f"k1|s|{tenant.tenant_id}|key:x|tasks.write|{uuid4()}|{uuid4()}|{'0' * 64}",
    }
    subject = f"morningai.event.{tenant.tenant_id}.change.generated"
    await sender.bus.jetstream.publish(subject, b"", headers=headers)
    await eventually(lambda: database.rows("SELECT 1 FROM orchestrator.dead_letters"))
    assert database.rows("SELECT tenant_id FROM orchestrator.dead_letters") == [(UUID(int=0),)]
    assert handled == []


async def test_a_real_seal_of_another_message_is_a_dead_letter(start_service, tenant, database, eventually):
    handled = []

    async def on_reply(session, envelope, message):
        handled.append(envelope.id)

    await start_service("orchestrator", orchestrator(on_reply))
    sender = await start_service("codegen", codegen(Long(ignore)))
    task_id = tenant.open_task(uuid4())
    first = await send(sender, tenant, events.ChangeGenerated(state="verified"), task_id=task_id, to="")
    await eventually(lambda: handled == [first])
    seal = database.rows("SELECT seal FROM codegen.outbox")[0][0]
    headers = {
        "ce-id": str(uuid4()),
        "ce-type": "morningai.api.events.v1.ChangeGenerated",
        "ce-tenantid": str(tenant.tenant_id),
        "ce-subject": f"tasks/{task_id}",
        "ce-seal": str(seal),
    }
    await sender.bus.jetstream.publish(f"morningai.event.{tenant.tenant_id}.change.generated", b"", headers=headers)
    await eventually(lambda: database.rows("SELECT 1 FROM orchestrator.dead_letters"))
    assert handled == [first]


async def test_a_command_of_a_task_that_ended_long_ago_is_acknowledged_and_not_worked(
    start_service, tenant, database, eventually
):
    attempts = []

    async def work(work, message):
        attempts.append(work.attempt)
        return finish_with(work, events.ChangeGenerated(state="verified"))

    sender = await start_service("orchestrator", orchestrator())
    task_id = tenant.open_task(uuid4())
    late = await send(sender, tenant, task_id=task_id)
    await database.change("UPDATE kernel.tasks SET closed_at = now() - interval '1 hour'")
    receiver = await start_service("codegen", codegen(Long(work)))
    while (await receiver.bus.jetstream.consumer_info("COMMANDS", "codegen-work")).ack_floor.stream_seq == 0:  # noqa: ASYNC110  the server tells nobody
        await asyncio.sleep(0.05)
    await database.change("UPDATE kernel.tasks SET closed_at = NULL")
    kept = await send(sender, tenant, task_id=task_id)
    await eventually(lambda: database.rows("SELECT message_id FROM codegen.inbox") == [(kept,)])
    await eventually(lambda: attempts == [1])
    assert late != kept
    assert database.rows("SELECT 1 FROM codegen.dead_letters") == []


@pytest.mark.parametrize("headers", [{}, {"ce-type": "nonsense"}, {"ce-type": "morningai.api.events.v1.StepFailed"}])
async def test_a_malformed_message_is_quarantined(start_service, tenant, database, eventually, headers):
    await start_service("orchestrator", orchestrator())
    sender = await start_service("codegen", codegen(Long(ignore)))
    await sender.bus.jetstream.publish(f"morningai.event.{tenant.tenant_id}.step.failed", b"\xff", headers=headers)
    await eventually(lambda: database.rows("SELECT 1 FROM orchestrator.dead_letters"))


async def test_a_duplicate_command_is_answered_again_and_not_worked_again(start_service, tenant, database, eventually):
    attempts, replies = [], []

    async def on_reply(session, envelope, message):
        replies.append(envelope.id)

    async def work(work, message):
        attempts.append(work.attempt)
        return finish_with(work, events.ChangeGenerated(state="verified"))

    sender = await start_service("orchestrator", orchestrator(on_reply))
    await start_service("codegen", codegen(Long(work)))
    command_id = await send(sender, tenant)
    await eventually(lambda: len(replies) == 1)
    [(published,)] = database.rows("SELECT published_at FROM codegen.outbox WHERE work_id IS NULL")
    row = database.rows("SELECT subject, seal, task_id FROM orchestrator.outbox")[0]
    headers = {
        "ce-id": str(command_id),
        "ce-type": "morningai.api.events.v1.GenerateChange",
        "ce-tenantid": str(tenant.tenant_id),
        "ce-subject": f"tasks/{row[2]}",
        "ce-seal": str(row[1]),
    }
    await sender.bus.jetstream.publish(str(row[0]), COMMAND.SerializeToString(), headers=headers)
    again = "SELECT 1 FROM codegen.outbox WHERE work_id IS NULL AND published_at > %s"
    await eventually(lambda: database.rows(again, published))
    assert attempts == [1]


async def test_a_step_that_fails_for_good_is_answered_with_its_reason(start_service, tenant, eventually):
    failures = []

    async def on_reply(session, envelope, message):
        failures.append((message.failure.reason, message.failure.remedy))

    async def work(work, message):
        raise StepFailure("sandbox_unavailable", "no sandbox", remedy="install bubblewrap")

    sender = await start_service("orchestrator", orchestrator(on_reply))
    await start_service("codegen", codegen(Long(work)))
    await send(sender, tenant)
    await eventually(lambda: failures == [("sandbox_unavailable", "install bubblewrap")])


async def test_work_that_fails_for_a_while_is_tried_again_and_then_ends(start_service, tenant, eventually):
    attempts, failures = [], []

    async def on_reply(session, envelope, message):
        failures.append(message.failure.reason)

    async def work(work, message):
        attempts.append(work.attempt)
        raise Retryable("the model is busy", retry_after_seconds=0.1)

    sender = await start_service("orchestrator", orchestrator(on_reply))
    await start_service("codegen", codegen(Long(work)), max_attempts=3)
    await send(sender, tenant)
    await eventually(lambda: failures == ["RETRYABLE"])
    assert attempts == [1, 2, 3]


async def test_a_cancelled_task_stops_its_work_within_two_seconds(start_service, tenant, database, eventually):
    started, stopped = asyncio.Event(), asyncio.Event()

    async def work(work, message):
        started.set()
        try:
            await asyncio.sleep(60)
        finally:
            stopped.set()

    sender = await start_service("orchestrator", orchestrator())
    await start_service("codegen", codegen(Long(work)))
    task_id = tenant.open_task(uuid4())
    await send(sender, tenant, task_id=task_id)
    await asyncio.wait_for(started.wait(), 5)
    await send(sender, tenant, events.CancelWork(), task_id=task_id)
    await asyncio.wait_for(stopped.wait(), 2)
    await eventually(lambda: database.rows("SELECT state FROM codegen.leases") == [("cancelled",)])


async def test_work_of_a_dead_worker_is_taken_over(start_service, tenant, database, eventually):
    attempts, replies = [], []

    async def on_reply(session, envelope, message):
        replies.append(message.state)

    async def work(work, message):
        attempts.append(work.attempt)
        if work.attempt == 1:
            await asyncio.sleep(60)
        return finish_with(work, events.ChangeGenerated(state=f"attempt {work.attempt}"))

    sender = await start_service("orchestrator", orchestrator(on_reply))
    first = await start_service("codegen", codegen(Long(work)), lease_seconds=1.5)
    await send(sender, tenant)
    await eventually(lambda: attempts == [1])
    await start_service("codegen", codegen(Long(work)), lease_seconds=1.5)
    await first.database.close()
    await eventually(lambda: replies == ["attempt 2"])
    assert database.rows("SELECT attempt, state FROM codegen.leases") == [(2, "finished")]


async def test_a_command_that_is_sent_again_revives_work_whose_timer_was_lost(
    start_service, tenant, database, eventually
):
    attempts = []

    async def work(work, message):
        attempts.append(work.attempt)
        if work.attempt == 1:
            await asyncio.sleep(60)
        return finish_with(work, events.ChangeGenerated(state="verified"))

    sender = await start_service("orchestrator", orchestrator())
    first = await start_service("codegen", codegen(Long(work)), lease_seconds=1.5)
    command_id = await send(sender, tenant)
    await eventually(lambda: attempts == [1])
    await first.database.close()
    await database.change("UPDATE codegen.outbox SET published_at = now() WHERE work_id IS NOT NULL")
    await start_service("codegen", codegen(Long(work)), lease_seconds=1.5)
    await eventually(lambda: database.rows("SELECT 1 FROM codegen.leases WHERE expires_at < now()"))
    await resend(sender, tenant, database, command_id)
    await eventually(lambda: attempts == [1, 2])


async def resend(sender, tenant, database, command_id):
    """As the orchestrator's timer does, and past the bus's own memory of message ids."""
    row = database.rows("SELECT subject, seal, task_id FROM orchestrator.outbox WHERE id = %s", command_id)[0]
    headers = {
        "ce-id": str(command_id),
        "ce-type": "morningai.api.events.v1.GenerateChange",
        "ce-tenantid": str(tenant.tenant_id),
        "ce-subject": f"tasks/{row[2]}",
        "ce-seal": str(row[1]),
    }
    await sender.bus.jetstream.publish(str(row[0]), COMMAND.SerializeToString(), headers=headers)


async def test_work_that_ends_its_process_again_and_again_fails(start_service, tenant, database, eventually):
    failures, started = [], asyncio.Event()

    async def on_reply(session, envelope, message):
        failures.append(message.failure.reason)

    async def work(work, message):
        started.set()
        await asyncio.sleep(60)

    sender = await start_service("orchestrator", orchestrator(on_reply))
    first = await start_service("codegen", codegen(Long(work)), lease_seconds=1.5, max_attempts=1)
    await send(sender, tenant)
    await asyncio.wait_for(started.wait(), 5)
    await database.change("UPDATE codegen.leases SET attempt = 3")
    await first.database.close()
    await start_service("codegen", codegen(Long(work)), lease_seconds=1.5, max_attempts=1)
    await eventually(lambda: failures == ["worker_lost"])


async def test_a_cancelled_command_that_nobody_has_taken_never_starts(start_service, tenant, database, eventually):
    started = []

    async def work(work, message):
        started.append(1)
        return finish_with(work, events.ChangeGenerated(state="verified"))

    sender = await start_service("orchestrator", orchestrator())
    task_id = tenant.open_task(uuid4())
    async with sender.database.tenant_session(tenant.grant()) as session:
        command_id = await outbox.emit(session, COMMAND, task_id=task_id, to="codegen", delay_seconds=2)
        unwanted = events.CancelWork(command_ids=[str(command_id)])
        await outbox.emit(session, unwanted, task_id=task_id, to="codegen")
    await start_service("codegen", codegen(Long(work)))
    await eventually(lambda: database.rows("SELECT 1 FROM orchestrator.outbox WHERE published_at IS NULL") == [])
    await eventually(lambda: len(database.rows("SELECT 1 FROM codegen.inbox")) == 2)
    assert started == []
    assert database.rows("SELECT state FROM codegen.leases") == [("cancelled",)]


async def test_a_worker_that_lost_its_lease_writes_nothing(start_service, tenant, database, eventually):
    finished = []

    async def work(work, message):
        await database.change("UPDATE codegen.leases SET attempt = attempt + 1")
        finished.append(1)
        return finish_with(work, events.ChangeGenerated(state="too late"))

    sender = await start_service("orchestrator", orchestrator())
    await start_service("codegen", codegen(Long(work)))
    await send(sender, tenant)
    await eventually(lambda: finished == [1])
    await asyncio.sleep(0.3)
    assert database.rows("SELECT 1 FROM codegen.outbox WHERE work_id IS NULL") == []
