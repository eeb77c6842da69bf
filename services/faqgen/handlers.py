"""What faqgen does with each message."""

from __future__ import annotations

from google.protobuf.message import Message

from morningai.api.events.v1 import events_pb2 as events
from morningai.bus.broker import Handlers
from morningai.bus.envelope import Envelope
from morningai.bus.handling import Short
from morningai.bus.work import Finish, Long, Work, request_cancel
from morningai.db.session import Session
from services.faqgen.workflow import Writer, generate_answer, generate_faq


def make_handlers(writer: Writer) -> Handlers:
    async def on_generate_answer(work: Work, message: Message) -> Finish:
        assert isinstance(message, events.GenerateAnswer)
        return await generate_answer(work, message, writer)

    async def on_generate_faq(work: Work, message: Message) -> Finish:
        assert isinstance(message, events.GenerateFaq)
        return await generate_faq(work, message, writer)

    return {
        events.GenerateAnswer: Long(on_generate_answer),
        events.GenerateFaq: Long(on_generate_faq),
        events.CancelWork: Short(on_cancel_work),
    }


async def on_cancel_work(session: Session, envelope: Envelope, message: Message) -> None:
    assert isinstance(message, events.CancelWork)
    await request_cancel(session, envelope.task_id, message.command_ids)
