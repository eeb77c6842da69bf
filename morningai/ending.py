"""Ends tasks for certain: before Python 3.12 `asyncio.wait_for` may lose a cancellation, and a task that is cancelled
only once then goes on for ever."""

from __future__ import annotations

import asyncio

AGAIN_SECONDS = 5.0


async def end(*tasks: asyncio.Task[object], again_seconds: float = AGAIN_SECONDS) -> None:
    """Cancel, again after a while, until each has ended; how they ended is nobody's concern any more."""
    while running := [task for task in tasks if not task.done()]:
        for task in running:
            task.cancel()
        await asyncio.wait(running, timeout=again_seconds)
    await asyncio.gather(*tasks, return_exceptions=True)
