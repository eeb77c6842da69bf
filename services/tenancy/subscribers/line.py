"""Where questions wait: few are asked at a time, and groups take turns, so that none can keep the others waiting."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from morningai.errors import Unavailable


@dataclass
class Line:
    """`places` questions are asked at a time; of a group, and of all groups together, a limited number waits."""

    places: int
    most_waiting_of_a_group: int = 256
    most_waiting: int = 2048
    _asking: int = 0
    _waiting: dict[str, deque[asyncio.Future[None]]] = field(default_factory=dict)

    @asynccontextmanager
    async def place(self, group: str) -> AsyncIterator[None]:
        """Raises Unavailable when too many wait already."""
        await self._enter(group)
        try:
            yield
        finally:
            self._leave()

    async def _enter(self, group: str) -> None:
        if self._asking < self.places:
            self._asking += 1
            return
        self._refuse_when_full(group)
        turn = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(group, deque()).append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if not turn.cancelled():
                self._leave()
            raise

    def _refuse_when_full(self, group: str) -> None:
        waiting = sum(map(len, self._waiting.values()))
        if len(self._waiting.get(group, ())) >= self.most_waiting_of_a_group or waiting >= self.most_waiting:
            raise Unavailable("Too many keys wait to be checked.", remedy="Connect again in a moment.")

    def _leave(self) -> None:
        """The place goes to the next group's oldest."""
        while self._waiting:
            group = next(iter(self._waiting))
            turns = self._waiting.pop(group)
            turn = turns.popleft()
            if turns:
                self._waiting[group] = turns
            if not turn.done():
                turn.set_result(None)
                return
        self._asking -= 1
