"""A task's way through the orchestrator, with generators that answer at once, on real NATS and PostgreSQL."""

from __future__ import annotations

import asyncio
from functools import partial
from uuid import uuid4

import pytest

from morningai.api.events.v1 import events_pb2 as events
from morningai.api.tasks.v1 import tasks_pb2 as api
from morningai.bus import outbox
from morningai.bus.handling import Short
from morningai.bus.work import Long, request_cancel
from services.gateway.feed import Feed
from services.gateway.handlers import make_handlers as gateway_handlers
from services.orchestrator.handlers import make_handlers
from services.orchestrator.settings import Settings

ALL_KINDS = [api.TASK_KIND_ANSWER, api.TASK_KIND_FAQ, api.TASK_KIND_DOCUMENT]


async def reply(message, work, _):
    async def finish(session):
        await outbox.emit(session, message, task_id=work.task_id, causation_id=work.work_id)

    return finish


async def never(work, _):
    await asyncio.sleep(3600)


async def ignore(session, envelope, message):
    return None


async def on_cancel(session, envelope, message):
    await request_cancel(session, envelope.task_id)


async def on_publish(session, envelope, message):
    published = events.DocumentPublished(document=message.document, version=message.version)
    await outbox.emit(session, published, task_id=envelope.task_id, causation_id=envelope.id)


def answering(message):
    return Long(partial(reply, message))


INDEXED = answering(
    events.SourceIndexed(snapshot=events.Snapshot(name="snapshots/1", source="sources/acme", commit="c" * 40))
)
ANSWERED = answering(events.AnswerGenerated(answer="answers/1", found=True, claim_count=3, engine="extractive"))
FAQ_DONE = answering(events.FaqGenerated(faq="faqs/1", item_count=5, engine="extractive"))
DOCUMENT_DONE = answering(
    events.DocumentGenerated(document="documents/1", version=1, content_hash="abc", engine="extractive")
)
DELIVERED = answering(
    events.ChangeDelivered(change="changes/1", repository="https://x/y", branch="fix/x", commit="d" * 40)
)
PUBLISHING = Short(on_publish)
FAILING = answering(events.StepFailed(failure=api.Failure(reason="broken", message="it broke", remedy="mend it")))


@pytest.fixture
def platform(start_service, database, tmp_path):
    async def start(
        *,
        index=INDEXED,
        answer=ANSWERED,
        faq=FAQ_DONE,
        document=DOCUMENT_DONE,
        publish=PUBLISHING,
        change=None,
        deliver=DELIVERED,
        **settings,
    ):
        values = {
            "database_dsn": "dbname=unused",
            "relay_dsn": "dbname=unused",
            "nats_url": "unused",
            "nats_user": "unused",
            "nats_password": "unused",
            "grpc_address": "unused",
            "work_dir": tmp_path,
        }
        orchestrator = Settings(**values, **settings)
        cancel = Short(on_cancel)
        start.orchestrator = await start_service("orchestrator", make_handlers(orchestrator))
        await start_service(
            "docs",
            {
                events.IndexSource: index,
                events.CheckSource: Short(ignore),
                events.GenerateDocument: document,
                events.PublishDocument: publish,
                events.DeliverChange: deliver,
                events.PatchVerified: Short(ignore),
                events.CancelWork: cancel,
            },
        )
        await start_service(
            "faqgen", {events.GenerateAnswer: answer, events.GenerateFaq: faq, events.CancelWork: cancel}
        )
        if change is not None:
            await start_service("codegen", {events.GenerateChange: change, events.CancelWork: cancel})
        return await start_service("gateway", gateway_handlers(Feed(), lambda: None))

    return start


async def request_task(gateway, tenant, kinds=ALL_KINDS, **fields):
    task_id = uuid4()
    message = events.TaskRequested(instruction="what is it?", source="sources/acme", kinds=kinds, **fields)
    async with gateway.database.tenant_session(tenant.grant()) as session:
        await session.execute(
            "INSERT INTO tasks (task_id, request_id, principal, instruction, source, kinds, state, trace_id) "
            "VALUES (%(id)s, %(id)s, 'key:x', 'what is it?', 'sources/acme', '{answer}', 'queued', 'aa')",
            {"id": task_id},
        )
        await outbox.emit(session, message, task_id=task_id)
    return task_id


def state_of(database, task_id):
    return database.rows("SELECT state FROM gateway.tasks WHERE task_id = %s", task_id)[0][0]


async def test_a_task_fans_out_publishes_and_succeeds(platform, tenant, database, eventually):
    gateway = await platform()
    task_id = await request_task(gateway, tenant)
    await eventually(lambda: state_of(database, task_id) == "succeeded")
    steps = database.rows("SELECT steps FROM gateway.tasks WHERE task_id = %s", task_id)[0][0]
    assert {step["step"]: step["state"] for step in steps} == dict.fromkeys(
        ["index", "answer", "faq", "document", "publish"], "succeeded"
    )
    sequences = [row[0] for row in database.rows("SELECT sequence FROM gateway.task_events ORDER BY sequence")]
    assert sequences == list(range(1, len(sequences) + 1))
    assert database.rows("SELECT 1 FROM orchestrator.dead_letters UNION ALL SELECT 1 FROM gateway.dead_letters") == []


async def test_a_task_at_a_commit_has_that_commit_indexed(platform, tenant, database, eventually):
    asked = []

    async def index(work, message):
        asked.append(message)
        return await INDEXED.handle(work, message)

    gateway = await platform(index=Long(index))
    task_id = await request_task(gateway, tenant, base_commit="c" * 40)
    await eventually(lambda: state_of(database, task_id) == "succeeded")
    assert asked == [events.IndexSource(source="sources/acme", commit="c" * 40)]


async def test_a_failed_generator_does_not_discard_the_others(platform, tenant, database, eventually):
    gateway = await platform(faq=FAILING)
    task_id = await request_task(gateway, tenant)
    await eventually(lambda: state_of(database, task_id) == "partly_succeeded")
    failure = database.rows("SELECT failure FROM gateway.tasks WHERE task_id = %s", task_id)[0][0]
    assert failure == {"reason": "broken", "message": "it broke", "remedy": "mend it"}


async def test_a_source_that_cannot_be_indexed_fails_the_task(platform, tenant, database, eventually):
    gateway = await platform(index=FAILING)
    task_id = await request_task(gateway, tenant)
    await eventually(lambda: state_of(database, task_id) == "failed")
    assert database.rows("SELECT step FROM orchestrator.steps") == [("index",)]


async def test_a_step_that_never_answers_fails_at_its_deadline(platform, tenant, database, eventually):
    gateway = await platform(answer=Long(never), resend_seconds=0.3, step_deadline_seconds=0.5)
    task_id = await request_task(gateway, tenant, [api.TASK_KIND_ANSWER])
    await eventually(lambda: state_of(database, task_id) == "failed")
    failure = database.rows("SELECT failure FROM gateway.tasks WHERE task_id = %s", task_id)[0][0]
    assert failure["reason"] == "step_timed_out"
    await eventually(lambda: database.rows("SELECT state FROM faqgen.leases") == [("cancelled",)])


async def test_a_transition_its_checkpoint_and_its_commands_roll_back_together(platform, tenant, database, eventually):
    gateway = await platform()
    # The third command of the fan-out cannot be written, so nothing of the transition may be.
    await database.change("ALTER TABLE orchestrator.steps ADD CONSTRAINT no_document CHECK (step <> 'document')")
    await request_task(gateway, tenant)
    await eventually(lambda: database.rows("SELECT 1 FROM docs.leases WHERE state = 'finished'"))
    await asyncio.sleep(0.5)
    assert database.rows("SELECT step, state FROM orchestrator.steps") == [("index", "running")]
    assert len(database.rows("SELECT 1 FROM orchestrator.checkpoints")) == 1
    await database.change("ALTER TABLE orchestrator.steps DROP CONSTRAINT no_document")
    await eventually(lambda: database.rows("SELECT 1 FROM orchestrator.tasks WHERE state = 'succeeded'"))
