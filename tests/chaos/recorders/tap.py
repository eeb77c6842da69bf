"""Hears every event on the bus beside the product, under a user of its own, and looks at what is left when all is done.

It outlives the death of the bus and the loss of its streams, and writes down that there was one.
"""

from __future__ import annotations

import asyncio
import threading
import time
from base64 import b64encode
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import nats
import nats.errors
from nats.js import JetStreamContext
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy
from nats.js.errors import Error as JetStreamError
from nats.js.errors import NotFoundError

from tests.chaos.evidence import BUS, TAP, Journal

TAPPED = ("EVENTS", "PUBLIC")
QUEUE = "COMMANDS"
BATCH = 500
WAIT_SECONDS = 0.5
AGAIN_SECONDS = 0.3
MOST_LEFT = 1000
FAILURES = (nats.errors.Error, JetStreamError, TimeoutError, OSError)


@dataclass
class Place:
    """How far a stream was heard, and which stream that was."""

    sequence: int = 0
    made_at: datetime | None = None


@dataclass
class EventTap:
    folder: Path
    url: str
    user: str
    password: str
    _places: dict[str, Place] = field(default_factory=lambda: {stream: Place() for stream in TAPPED})

    async def run(self) -> None:
        """Until cancelled."""
        journal = Journal(self.folder, TAP)
        client = await nats.connect(
            self.url,
            user=self.user,
            password=self.password,
            max_reconnect_attempts=-1,
            reconnect_time_wait=0.2,
            error_cb=_ignore,
        )
        try:
            await asyncio.gather(*(self._hear(client.jetstream(), stream, journal) for stream in TAPPED))
        finally:
            await client.close()
            journal.close()

    async def rest(self, *, seconds: float = 60.0) -> None:
        """Wait until every event is heard and every consumer idle, or the time is over; write down what there is."""
        client = await nats.connect(self.url, user=self.user, password=self.password, error_cb=_ignore)
        give_up, journal = time.monotonic() + seconds, Journal(self.folder, BUS)
        try:
            while True:
                look = await self._look(client.jetstream())
                if all(map(_is_calm, look)) or time.monotonic() > give_up:
                    break
                await asyncio.sleep(AGAIN_SECONDS)
            look += [line async for line in _left(client.jetstream())]
        finally:
            await client.close()
        now = time.time()
        for line in look:
            journal.append({"time": now, **line})
        journal.close()

    async def _hear(self, jetstream: JetStreamContext, stream: str, journal: Journal) -> None:
        while True:
            with suppress(*FAILURES):
                await self._hear_until_it_fails(jetstream, stream, journal)
            await asyncio.sleep(AGAIN_SECONDS)

    async def _hear_until_it_fails(self, jetstream: JetStreamContext, stream: str, journal: Journal) -> None:
        place = self._places[stream]
        info = await jetstream.stream_info(stream)
        if place.made_at and (info.created != place.made_at or info.state.last_seq < place.sequence):
            journal.append({"time": time.time(), "stream": stream, "made_again": True})
            place.sequence = 0
        place.made_at = info.created
        config = ConsumerConfig(
            deliver_policy=DeliverPolicy.BY_START_SEQUENCE,
            opt_start_seq=place.sequence + 1,
            ack_policy=AckPolicy.NONE,
            inactive_threshold=60.0,
        )
        consumer = await jetstream.add_consumer(stream, config)
        subscription = await jetstream.pull_subscribe_bind(consumer.name, stream)
        while True:
            try:
                messages = await subscription.fetch(BATCH, timeout=WAIT_SECONDS)
            except nats.errors.TimeoutError:
                info = await jetstream.stream_info(stream)
                if info.created != place.made_at or info.state.last_seq > place.sequence:
                    await subscription.unsubscribe()
                    return
                continue
            for message in messages:
                place.sequence = message.metadata.sequence.stream
                journal.append(
                    {
                        "time": time.time(),
                        "stream": stream,
                        "subject": message.subject,
                        "sequence": place.sequence,
                        "headers": dict(message.headers or {}),
                        "body": b64encode(message.data).decode(),
                    }
                )

    async def _look(self, jetstream: JetStreamContext) -> list[dict[str, object]]:
        lines: list[dict[str, object]] = []
        for stream in (*TAPPED, QUEUE):
            last = (await jetstream.stream_info(stream)).state.last_seq
            tapped = self._places[stream].sequence if stream in TAPPED else None
            lines.append({"stream": stream, "last_sequence": last, "tapped": tapped})
            for info in await jetstream.consumers_info(stream):
                if info.config.durable_name and not info.config.durable_name.startswith("sub-"):
                    counts = {"pending": info.num_pending, "unacknowledged": info.num_ack_pending}
                    lines.append({"stream": stream, "consumer": info.name, **counts})
        return lines


def _is_calm(line: dict[str, object]) -> bool:
    return line.get("tapped") in (None, line.get("last_sequence")) and not (
        line.get("pending") or line.get("unacknowledged")
    )


async def _left(jetstream: JetStreamContext) -> AsyncIterator[dict[str, object]]:
    """Whose commands they are that are still in the queue."""
    state = (await jetstream.stream_info(QUEUE)).state
    for sequence in range(state.first_seq, min(state.last_seq, state.first_seq + MOST_LEFT) + 1):
        with suppress(NotFoundError):
            message = await jetstream.get_msg(QUEUE, sequence)
            yield {"stream": QUEUE, "subject": message.subject, "headers": dict(message.headers or {})}


async def _ignore(error: Exception) -> None:
    """The tap outlives the bus."""


@contextmanager
def tapping(folder: Path, url: str, *, user: str, password: str) -> Iterator[EventTap]:
    """A tap in a thread of its own, from when it hears."""
    tap = EventTap(folder, url, user, password)
    loop = asyncio.new_event_loop()
    running = loop.create_task(tap.run())

    def serve() -> None:
        with suppress(asyncio.CancelledError):
            loop.run_until_complete(running)

    thread = threading.Thread(target=serve, name="tap", daemon=True)
    thread.start()
    try:
        yield tap
    finally:
        loop.call_soon_threadsafe(running.cancel)
        thread.join(10)
        loop.close()
