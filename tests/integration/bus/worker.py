"""`python -m tests.integration.bus.worker`: a codegen of the tests' own in its own process, to be ended by signals.

It is asked for changes whose instruction says how many seconds the first attempt takes, and then the others. It says
what it does in the file `said` of its folder. Told to cancel a command that is named by a number, the first that hears
of it takes so many seconds.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from google.protobuf.message import Message

from morningai.api.events.v1 import events_pb2 as events
from morningai.bus import outbox
from morningai.bus.broker import Handlers
from morningai.bus.envelope import Envelope
from morningai.bus.handling import Short
from morningai.bus.work import Finish, Long, Work
from morningai.db.session import Session
from morningai.rpc.server import RpcServer
from morningai.service import Service, make_database, run
from morningai.settings import ServiceSettings, read_settings

NAME = "codegen"


@dataclass(frozen=True)
class Story:
    """What all workers have done, for the test to read."""

    file: Path

    def say(self, *words: object) -> None:
        with self.file.open("a") as file:
            file.write(" ".join(map(str, words)) + "\n")

    def has(self, word: str) -> bool:
        return self.file.exists() and word in self.file.read_text()


def make_handlers(replica: str, story: Story) -> Handlers:
    async def on_generate_change(work: Work, message: Message) -> Finish:
        assert isinstance(message, events.GenerateChange)
        first, others = message.instruction.split()
        story.say("working", replica, work.attempt)
        await asyncio.sleep(float(first if work.attempt == 1 else others))

        async def finish(session: Session) -> None:
            generated = events.ChangeGenerated(state="verified", reason=replica)
            await outbox.emit(session, generated, task_id=work.task_id, causation_id=work.work_id)

        return finish

    async def on_cancel_work(session: Session, envelope: Envelope, message: Message) -> None:
        assert isinstance(message, events.CancelWork)
        is_first = not story.has("cancelling")
        story.say("cancelling", replica)
        if is_first:
            await asyncio.sleep(float(message.command_ids[0]))
        story.say("cancelled", replica)

    return {events.GenerateChange: Long(on_generate_change), events.CancelWork: Short(on_cancel_work)}


def make_service(settings: ServiceSettings) -> Service:
    database, relay_holder = make_database(settings)
    handlers = make_handlers(settings.replica, Story(settings.work_dir / "said"))
    return Service(NAME, settings, database, relay_holder, handlers, RpcServer(settings.grpc_address, []))


if __name__ == "__main__":
    settings = read_settings(ServiceSettings)
    run(NAME, settings, partial(make_service, settings))
