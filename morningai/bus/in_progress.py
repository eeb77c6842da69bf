"""Tells the bus that a message is still being handled, so that a slow handler is not delivered its message twice."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import nats.errors
from faststream.nats import NatsMessage

from morningai.ending import end

# Twice as long as anything waits for the database; a handler that takes longer hangs, and another may have its message.
LONGEST_SECONDS = 60.0


@asynccontextmanager
async def in_progress(message: NatsMessage, *, ack_wait_seconds: float) -> AsyncIterator[None]:
    """While the block runs, unless the message is settled, and not for ever."""
    every_seconds, telling = ack_wait_seconds / 3, list[asyncio.Task[None]]()

    def begin() -> None:
        telling.append(asyncio.create_task(_tell(message, every_seconds=every_seconds)))

    beginning = asyncio.get_running_loop().call_later(every_seconds, begin)  # nearly every handler has ended by then
    try:
        yield
    finally:
        beginning.cancel()
        await end(*telling)


async def _tell(message: NatsMessage, *, every_seconds: float) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(LONGEST_SECONDS):
            while True:
                with suppress(nats.errors.Error):  # a bus that is away delivers the message again anyway
                    await message.in_progress()
                await asyncio.sleep(every_seconds)
