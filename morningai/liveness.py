"""Whether the loops of a service pass: a process that answers and does nothing is not well.

A loop says each time that it passes, and how long its next pass may wait for something to do.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

import structlog

from morningai.errors import MorningAIError

log = structlog.get_logger()

LOOK_SECONDS = 1.0
# Whoever looks so late was frozen itself, and the loops with it.
FROZEN_SECONDS = 5.0

Clock = Callable[[], float]


class StuckLoops(MorningAIError):
    reason = "STUCK_LOOPS"


class Loop:
    """One of a service's loops; it counts as passing from the moment it is made."""

    def __init__(self, name: str, clock: Clock) -> None:
        self.name = name
        self._clock = clock
        self._due_at = clock()

    def passed(self, *, next_waits_seconds: float = 0.0) -> None:
        self._due_at = self._clock() + next_waits_seconds

    @property
    def late_seconds(self) -> float:
        return self._clock() - self._due_at


class Liveness:
    """A loop that is late by more than `stuck_seconds` is stuck."""

    def __init__(self, *, stuck_seconds: float, clock: Clock = time.monotonic) -> None:
        self._stuck_seconds = stuck_seconds
        self._clock = clock
        self._loops: list[Loop] = []
        self._looked_at = clock()

    def loop(self, name: str) -> Loop:
        self._loops.append(Loop(name, self._clock))
        return self._loops[-1]

    def look(self) -> list[str]:
        """The names of the loops that are stuck. Raises StuckLoops once one has been for as long again."""
        now = self._clock()
        if now - self._looked_at > FROZEN_SECONDS:
            for loop in self._loops:
                loop.passed()
        self._looked_at = now
        late = {loop.name: loop.late_seconds for loop in self._loops if loop.late_seconds > self._stuck_seconds}
        if late and max(late.values()) > 2 * self._stuck_seconds:
            raise StuckLoops(f"These loops are stuck: {', '.join(sorted(late))}.")
        return sorted(late)


async def keep_health(liveness: Liveness, set_serving: Callable[[bool], Awaitable[None]]) -> None:
    """Runs until cancelled, or until a loop is stuck for good: whoever supervises the process starts it again."""
    known: list[str] = []
    while True:
        await asyncio.sleep(LOOK_SECONDS)
        stuck = liveness.look()
        if stuck != known:
            log.warning("service.loops.stuck", loops=stuck)
            await set_serving(not stuck)
            known = stuck
