"""docs, faqgen or codegen whose generators answer at once: the service as it is, with other handlers.

`python -m benchmarks.generators NAME`. Its messages pass through the real kernel: the service's own login, schema, user
on the bus, inbox, outbox, relay and seals. Only the work itself is left out, as it is in the peers' activities.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from importlib import import_module

import uvloop
from google.protobuf.message import Message

from morningai.api.events.v1 import events_pb2 as events
from morningai.bus import outbox
from morningai.bus.catalogue import subscriptions_of
from morningai.bus.envelope import Envelope
from morningai.bus.handling import Short
from morningai.db.session import Session
from morningai.service import Service, run
from morningai.settings import ServiceSettings, read_settings

ENGINE = "benchmark"
SNAPSHOT = events.Snapshot(
    name="snapshots/benchmark", source="sources/benchmark", repository="benchmark", commit="0" * 40
)
REPLIES: Mapping[type[Message], Message] = {
    events.IndexSource: events.SourceIndexed(snapshot=SNAPSHOT, file_count=1, chunk_count=1),
    events.GenerateAnswer: events.AnswerGenerated(answer="answers/benchmark", found=True, claim_count=1, engine=ENGINE),
    events.GenerateFaq: events.FaqGenerated(faq="faqs/benchmark", item_count=1, engine=ENGINE),
    events.GenerateChange: events.ChangeGenerated(change="changes/benchmark", state="verified", engine=ENGINE),
}


async def answer_at_once(session: Session, envelope: Envelope, message: Message) -> None:
    await outbox.emit(session, REPLIES[type(message)], task_id=envelope.task_id, causation_id=envelope.id)


async def refuse(session: Session, envelope: Envelope, message: Message) -> None:
    """Nothing else is asked of a generator here."""
    raise AssertionError(f"{envelope.type.short_name} is no part of the benchmark")


def make_service(name: str, settings: ServiceSettings) -> Service:
    bodies = [message.body for subscription in subscriptions_of(name) for message in subscription.types]
    handlers = {body: Short(answer_at_once if body in REPLIES else refuse) for body in bodies}
    service: Service = import_module(f"services.{name}.app").make_service(settings)
    return replace(service, handlers=handlers)


if __name__ == "__main__":
    name = sys.argv[1]
    settings: ServiceSettings = read_settings(import_module(f"services.{name}.settings").Settings)
    loop_factory = uvloop.new_event_loop if name == "faqgen" else None  # as the service itself has it
    run(name, settings, partial(make_service, name, settings), loop_factory=loop_factory)
