"""Messages of one task that wait for one another are handled together, in one transaction.

They would stand still at the task's row lock anyway, each holding a connection. If one of them fails, each is handled
by itself, so that the others take effect and the one fails for its own reason.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextvars import Context, copy_context
from dataclasses import dataclass, field
from itertools import groupby
from uuid import UUID

import structlog

from morningai.bus.envelope import Envelope
from morningai.bus.handling import Group, Short, receive_sealed
from morningai.db.session import Database

log = structlog.get_logger()

MOST_TOGETHER = 32


@dataclass(eq=False)
class Waiting:
    """A message whose handler runs in the context of its receipt: its trace and its log fields."""

    handler: Short
    envelope: Envelope
    done: asyncio.Future[None]
    context: Context = field(default_factory=copy_context)

    def end(self, error: BaseException | None) -> None:
        if self.done.done():  # whoever waited was cancelled
            return
        if error:
            self.done.set_exception(error)
        else:
            self.done.set_result(None)


@dataclass(eq=False)
class Lanes:
    """Per task the messages that wait while others of it are handled."""

    database: Database
    consumer: str
    _waiting: dict[UUID, list[Waiting]] = field(default_factory=dict)
    _running: set[asyncio.Task[None]] = field(default_factory=set)

    async def handle(self, handler: Short, envelope: Envelope) -> None:
        """Returns once the message has taken effect. Raises what its handler does."""
        one = Waiting(handler, envelope, asyncio.get_running_loop().create_future())
        lane = self._waiting.get(envelope.task_id)
        if lane is None:
            self._waiting[envelope.task_id] = [one]
            running = asyncio.create_task(self._run(envelope.task_id))
            self._running.add(running)
            running.add_done_callback(self._running.discard)
        else:
            lane.append(one)
        await one.done

    async def _run(self, task_id: UUID) -> None:
        lane = self._waiting[task_id]
        try:
            while lane:
                await asyncio.sleep(0)  # what arrived at the same time comes along
                group = lane[:MOST_TOGETHER]
                del lane[:MOST_TOGETHER]
                await self._handle_all([one for one in group if not one.done.done()])
        finally:
            del self._waiting[task_id]
            for one in lane:  # only when the process ends: the bus brings them again
                one.done.cancel()

    async def _handle_all(self, group: Sequence[Waiting]) -> None:
        if len(group) > 1 and await self._took_effect_together(group):
            return
        for one in group:
            await self._handle_alone(one)

    async def _took_effect_together(self, group: Sequence[Waiting]) -> bool:
        error = await _error_of(asyncio.create_task(self._handle_in_one(group)))
        if error:  # each is tried by itself, and says what it fails of
            log.info("bus.messages.separated", count=len(group), error=type(error).__name__)
            return False
        for one in group:
            one.end(None)
        return True

    async def _handle_in_one(self, group: Sequence[Waiting]) -> None:
        async with self.database.tenant_transaction() as transaction:
            for part in _at_once(group):
                handler, envelopes = part[0].handler, [one.envelope for one in part]
                receiving = receive_sealed(handler, envelopes, transaction, consumer=self.consumer)
                await asyncio.create_task(receiving, context=part[0].context)

    async def _handle_alone(self, one: Waiting) -> None:
        handling = one.handler(self.database, one.envelope, consumer=self.consumer)
        one.end(await _error_of(asyncio.create_task(handling, context=one.context)))


def _at_once(group: Sequence[Waiting]) -> Iterator[Sequence[Waiting]]:
    """What one handler takes at once."""
    for handler, part in groupby(group, key=lambda one: one.handler):
        if isinstance(handler, Group):
            yield list(part)
        else:
            yield from ([one] for one in part)


async def _error_of(task: asyncio.Task[None]) -> BaseException | None:
    await asyncio.wait({task})
    return asyncio.CancelledError() if task.cancelled() else task.exception()
