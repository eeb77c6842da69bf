from __future__ import annotations

import json
from types import SimpleNamespace
from uuid import UUID

import pytest

from morningai.bus import subjects
from services.tenancy.domain.subscribers import Subscriber
from services.tenancy.subscribers.replay import list_replays

A, B = Subscriber(UUID(int=1), "mk_a"), Subscriber(UUID(int=2), "mk_b-c_d")


class Stream:
    """Answers with its consumers' names, two at a time, or with an error."""

    def __init__(self, *names: str, error: str = "") -> None:
        self.names, self.error = names, error

    async def request(self, subject: str, payload: bytes, timeout: float) -> SimpleNamespace:  # noqa: ASYNC109
        offset = json.loads(payload)["offset"]
        page = {"total": len(self.names), "consumers": list(self.names[offset : offset + 2]) or None}
        return SimpleNamespace(data=json.dumps({"error": self.error} if self.error else page).encode())


def durable_of(subscriber: Subscriber) -> str:
    return subjects.replay_durable(subscriber.tenant_id, subscriber.key_id)


async def test_every_page_is_read_and_a_consumer_that_is_nobody_s_is_left_alone():
    stream = Stream("looking-around", durable_of(A), durable_of(B))
    assert await list_replays(stream) == [A, B]


async def test_a_stream_without_consumers_has_no_replays():
    assert await list_replays(Stream()) == []


async def test_what_the_stream_does_not_say_is_not_taken_for_nothing():
    with pytest.raises(ValueError, match="cannot be listed"):
        await list_replays(Stream(error="no such stream"))
