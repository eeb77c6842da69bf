"""What docs does with each message."""

from __future__ import annotations

from google.protobuf.message import Message

from morningai.api.events.v1 import events_pb2 as events
from morningai.api.tasks.v1 import tasks_pb2 as tasks
from morningai.bus import outbox
from morningai.bus.broker import Handlers
from morningai.bus.envelope import Envelope
from morningai.bus.handling import Short
from morningai.bus.work import Finish, Long, Work, request_cancel
from morningai.db.session import Database, Session
from morningai.errors import NotFound, StepFailure
from services.docs import repository
from services.docs.delivery import deliver_change
from services.docs.sources import SourceStores
from services.docs.workflow import Writer, check_source, generate_document, index_source, publish_document


def make_handlers(database: Database, stores: SourceStores, writer: Writer) -> Handlers:
    async def on_index_source(work: Work, message: Message) -> Finish:
        assert isinstance(message, events.IndexSource)
        return await index_source(work, message, database=database, stores=stores)

    async def on_check_source(work: Work, message: Message) -> Finish:
        assert isinstance(message, events.CheckSource)
        return await check_source(work, message, database=database, stores=stores)

    async def on_generate_document(work: Work, message: Message) -> Finish:
        assert isinstance(message, events.GenerateDocument)
        return await generate_document(work, message.instruction, message.snapshot, database=database, writer=writer)

    async def on_deliver_change(work: Work, message: Message) -> Finish:
        assert isinstance(message, events.DeliverChange)
        return await deliver_change(work, message, database=database, stores=stores)

    return {
        events.IndexSource: Long(on_index_source),
        events.CheckSource: Long(on_check_source),
        events.GenerateDocument: Long(on_generate_document),
        events.DeliverChange: Long(on_deliver_change),
        events.PatchVerified: Short(on_patch_verified),
        events.PublishDocument: Short(on_publish_document),
        events.CancelWork: Short(on_cancel_work),
    }


async def on_publish_document(session: Session, envelope: Envelope, message: Message) -> None:
    assert isinstance(message, events.PublishDocument)
    reply: Message
    try:
        reply = await publish_document(session, message)
    except (NotFound, StepFailure) as error:
        failure = tasks.Failure(reason=error.reason, message=error.message, remedy=error.remedy)
        reply = events.StepFailed(failure=failure)
    await outbox.emit(session, reply, task_id=envelope.task_id, causation_id=envelope.id)


async def on_patch_verified(session: Session, envelope: Envelope, message: Message) -> None:
    assert isinstance(message, events.PatchVerified)
    await repository.insert_patch(session, envelope.task_id, message.change, message.patch)


async def on_cancel_work(session: Session, envelope: Envelope, message: Message) -> None:
    assert isinstance(message, events.CancelWork)
    await request_cancel(session, envelope.task_id, message.command_ids)
