"""Tells the other replicas of a service over core NATS that something of one or more keys was committed.

A pulse holds nothing but the keys, and may be lost: whoever waits for one looks by itself now and then.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from contextlib import suppress
from uuid import UUID

import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg

from morningai.bus.subjects import pulse_subject

OWN_BYTES = 8
KEY_BYTES = 16


class Pulses:
    """Silent until started; `on_pulse` hears those of other processes."""

    def __init__(self, service: str) -> None:
        self._subject = pulse_subject(service)
        self._own = os.urandom(OWN_BYTES)
        self._client: Client | None = None
        self._sending: set[asyncio.Task[None]] = set()
        self.on_pulse: Callable[[UUID], None] = lambda _: None

    async def start(self, client: Client) -> None:
        await client.subscribe(self._subject, cb=self._heard)
        self._client = client

    def send(self, *keys: UUID) -> None:
        if self._client is not None and self._client.is_connected:
            sending = asyncio.create_task(self._send(self._client, keys))
            self._sending.add(sending)
            sending.add_done_callback(self._sending.discard)

    async def _send(self, client: Client, keys: tuple[UUID, ...]) -> None:
        with suppress(nats.errors.Error):
            await client.publish(self._subject, self._own + b"".join(key.bytes for key in keys))

    async def _heard(self, message: Msg) -> None:
        own, keys = message.data[:OWN_BYTES], message.data[OWN_BYTES:]
        if own == self._own or len(keys) % KEY_BYTES:
            return
        for start in range(0, len(keys), KEY_BYTES):
            self.on_pulse(UUID(bytes=keys[start : start + KEY_BYTES]))
