from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import nats
import pytest
from nats.aio.client import Client

from tests.conftest import PASSWORD


@dataclass
class Visitor:
    """A plain NATS client that logs in as one service and remembers what the server refused."""

    client: Client
    errors: list[str] = field(default_factory=list)

    async def refused_to_publish(self, subjects: list[str]) -> set[str]:
        return await self._refused("publish", subjects, self.client.publish)

    async def refused_to_subscribe(self, subjects: list[str]) -> set[str]:
        return await self._refused("subscription", subjects, self.client.subscribe)

    async def _refused(self, verb: str, subjects: list[str], act: Callable[[str], Awaitable[object]]) -> set[str]:
        for subject in subjects:
            await act(subject)
        # The server answers in order: after the second pong every refusal has arrived.
        await self.client.flush()
        await self.client.flush()
        return {
            subject for subject in subjects if any(f'{verb} to "{subject}"'.lower() in error for error in self.errors)
        }


@pytest.fixture
async def visit(nats_url: str):
    visitors: list[Visitor] = []

    async def connect(service: str) -> Visitor:
        errors: list[str] = []

        async def remember(error: Exception) -> None:
            errors.append(str(error).lower())

        client = await nats.connect(
            nats_url,
            user=service,
            password=PASSWORD,
            error_cb=remember,
            allow_reconnect=False,
            inbox_prefix=f"_INBOX_{service}",
        )
        visitors.append(Visitor(client, errors))
        return visitors[-1]

    yield connect
    for visitor in visitors:
        await visitor.client.close()
