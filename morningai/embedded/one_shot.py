"""A part that is a piece of blocking work done once, such as the migrations."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


class OneShot:
    def __init__(self, work: Callable[[], None]) -> None:
        self._work = work
        self._running: asyncio.Task[None] | None = None

    async def start(self) -> None:
        self._running = asyncio.create_task(asyncio.to_thread(self._work))
        await asyncio.shield(self._running)

    async def healthy(self) -> bool:
        return True

    async def wait(self) -> str:
        return "is done"

    async def stop(self) -> None:
        """A thread cannot be interrupted: what it depends on stays up until it is through."""
        if self._running:
            await asyncio.wait({self._running})
