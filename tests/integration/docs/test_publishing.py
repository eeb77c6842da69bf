"""PublishDocument as it arrives on the bus: its effect is for a principal who still may."""

from __future__ import annotations

import hashlib
from uuid import uuid4

import pytest

from morningai.api.events.v1 import events_pb2 as events
from morningai.bus import outbox
from morningai.bus.handling import Short
from services.docs import document_rows
from services.docs.handlers import on_publish_document

CONTENT = "# Title\n"
HASH = hashlib.sha256(CONTENT.encode()).hexdigest()
REPLIES = (
    events.SourceIndexed, events.AnswerGenerated, events.FaqGenerated, events.DocumentGenerated,
    events.DocumentPublished, events.ChangeGenerated, events.ChangeDelivered, events.StepFailed,
)  # fmt: skip


async def ignore(session, envelope, message):
    return None


@pytest.fixture
async def publish(start_service, tenant, eventually):
    """`await publish(prepare)`: the reply to a PublishDocument that was sent before `prepare` was called."""
    replies = []

    async def on_reply(session, envelope, message):
        replies.append(message)

    orchestrator = dict.fromkeys(
        (
            events.TaskRequested,
            events.CancelTask,
            events.StartTask,
            events.ExpireTask,
            events.StepTimedOut,
            events.ApprovalDue,
        ),
        Short(ignore),
    )
    sender = await start_service("orchestrator", orchestrator | dict.fromkeys(REPLIES, Short(on_reply)))

    async def publish(prepare, content_hash=HASH):
        task_id = tenant.open_task(uuid4())
        others = (
            events.IndexSource, events.CheckSource, events.GenerateDocument, events.DeliverChange,
            events.PatchVerified, events.CancelWork,
        )  # fmt: skip
        handlers = dict.fromkeys(others, Short(ignore))

        async def prepared(session, envelope, message):
            prepare()
            await on_publish_document(session, envelope, message)

        docs = await start_service("docs", {**handlers, events.PublishDocument: Short(prepared)})
        async with docs.database.tenant_session(tenant.grant()) as session:
            document_id, version = await document_rows.insert_document(
                session, source_id="x", task_id=task_id, title="T", content=CONTENT, content_hash=HASH, claims=(),
                metadata={},
            )  # fmt: skip
        command = events.PublishDocument(
            document=f"documents/{document_id}", version=version, content_hash=content_hash
        )
        async with sender.database.tenant_session(tenant.grant()) as session:
            await outbox.emit(session, command, task_id=task_id, to="docs")
        await eventually(lambda: replies)
        return replies[0]

    return publish


def published(database):
    return database.rows("SELECT published_version FROM docs.documents")[0][0]


async def test_a_document_is_published_for_who_asked_for_it(publish, database):
    reply = await publish(lambda: None)
    assert isinstance(reply, events.DocumentPublished)
    assert published(database) == 1


NO_LONGER = {
    "revoked": "UPDATE tenancy.api_keys SET revoked_at = now()",
    "expired": "UPDATE tenancy.api_keys SET expires_at = now()",
    "without the scope": "UPDATE tenancy.api_keys SET scopes = '{tasks.read}'",
    "of a suspended tenant": "UPDATE tenancy.tenants SET state = 'suspended'",
}


@pytest.mark.parametrize("kind", NO_LONGER)
async def test_a_document_of_a_key_that_no_longer_may_is_not_published(publish, database, kind):
    reply = await publish(lambda: database.execute(NO_LONGER[kind]))
    assert isinstance(reply, events.StepFailed)
    assert (reply.failure.reason, reply.failure.remedy) == ("principal_revoked", "Ask again with a valid key.")
    assert published(database) is None


async def test_a_version_that_is_not_there_is_still_not_found(publish, database):
    reply = await publish(lambda: None, content_hash="0" * 64)
    assert (reply.failure.reason, published(database)) == ("NOT_FOUND", None)
