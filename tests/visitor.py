"""A plain NATS client that tries what it may not do."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field

from nats.aio.client import Client
from nats.aio.subscription import Subscription

VIOLATION = "nats: permissions violation for "
AT_A_TIME = 16


@dataclass
class Visitor:
    """Remembers what the server refused."""

    client: Client
    errors: list[str] = field(default_factory=list)

    async def refused_to_publish(self, subjects: Iterable[str], *, reply: str = "") -> set[str]:
        async def publish(subject: str) -> None:
            await self.client.publish(subject, b"", reply=reply)

        return await self._refused("publish", subjects, publish)

    async def refused_to_subscribe(self, subjects: Iterable[str]) -> set[str]:
        """A few at a time, because a connection may hold so many."""
        asked = list(subjects)
        refused: set[str] = set()
        for start in range(0, len(asked), AT_A_TIME):
            refused |= await self._refused_to_hear(asked[start : start + AT_A_TIME])
        return refused

    async def _refused_to_hear(self, subjects: list[str]) -> set[str]:
        made: list[Subscription] = []

        async def subscribe(subject: str) -> None:
            made.append(await self.client.subscribe(subject))

        refused = await self._refused("subscription", subjects, subscribe)
        for subscription in made:
            await subscription.unsubscribe()
        return refused

    async def _refused(self, verb: str, subjects: Iterable[str], act: Callable[[str], Awaitable[object]]) -> set[str]:
        asked = list(subjects)
        for subject in asked:
            await act(subject)
        # The server answers in order: after the second pong every refusal has arrived.
        await self.client.flush()
        await self.client.flush()
        refused = set(self.errors)
        return {subject for subject in asked if f'{VIOLATION}{verb} to "{subject.lower()}"' in refused}


async def visit_as(url: str, **credentials: str) -> Visitor:
    visitor = Visitor(Client())

    async def remember(error: Exception) -> None:
        visitor.errors.append(str(error).lower())

    await visitor.client.connect(url, error_cb=remember, allow_reconnect=False, **credentials)
    return visitor
