"""The gateway never acknowledges how a task ended."""

from __future__ import annotations

from pathlib import Path

from faststream.nats import NatsMessage


def install(folder: Path, service: str) -> None:
    original = NatsMessage.ack

    async def ack(self: NatsMessage) -> None:
        if service != "gateway" or not self.headers.get("ce-type", "").endswith("TaskSucceeded"):
            await original(self)

    NatsMessage.ack = ack  # type: ignore[method-assign]
