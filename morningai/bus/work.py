"""Long work: claim, work with no transaction open, finish. The lease in PostgreSQL is the only lease.

A claim leaves a timer in the outbox: the command itself, due when the lease ends. Renewing postpones it, finishing
withdraws it, so a worker that died is followed by another and nobody has to look for it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from dataclasses import dataclass
from typing import LiteralString, TypeAlias
from uuid import UUID

import psycopg
import structlog
from google.protobuf.message import Message
from opentelemetry.instrumentation.utils import suppress_instrumentation
from psycopg.rows import DictRow

from morningai.bus import inbox, outbox
from morningai.bus.attempt import (
    Cancelled,
    Finish,
    HandedOver,
    Stalled,
    Superseded,
    Work,
    WorkLimits,
    end_attempt,
    failing,
    hand_over,
    key,
    retry_or_fail,
    wait_out,
    write_nothing,
)
from morningai.bus.envelope import Envelope
from morningai.bus.handling import Acknowledge
from morningai.bus.outages import AWAY, outage_of
from morningai.db.session import Database, Session
from morningai.ending import end
from morningai.errors import Permanent, Retryable, StepFailure, TaskEnded
from morningai.liveness import Loop

__all__ = ["Finish", "Long", "Slot", "Work", "WorkLimits", "request_cancel"]

log = structlog.get_logger()

CONSUMER = "work"
RENEW_SECONDS = 1.0
# A process may die of what is not the work's fault, so takeovers are bounded less tightly than errors.
CRASHES_PER_ATTEMPT = 3

WorkHandler: TypeAlias = Callable[[Work, Message], Coroutine[None, None, Finish]]
Tell: TypeAlias = Callable[[Work], Awaitable[None]]
Begin: TypeAlias = Callable[[], Coroutine[None, None, Finish]]

LEASE: LiteralString = "SELECT *, now() AS now FROM leases WHERE work_id = %(work_id)s FOR UPDATE"
MOVE_TIMER: LiteralString = "UPDATE leases SET timer_id = %(timer_id)s WHERE work_id = %(work_id)s"
TAKE: LiteralString = """
INSERT INTO leases (work_id, task_id, attempt, state, worker, timer_id, expires_at)
VALUES (%(work_id)s, %(task_id)s, 1, 'running', %(worker)s, %(timer_id)s, now() + make_interval(secs => %(seconds)s))
ON CONFLICT (tenant_id, work_id) DO UPDATE
SET attempt = leases.attempt + 1, worker = excluded.worker, timer_id = excluded.timer_id,
    expires_at = excluded.expires_at, updated_at = now()
WHERE leases.state = 'running'
RETURNING attempt, failures, outage_seconds
"""
RENEW: LiteralString = """
WITH lease AS (
  UPDATE leases SET expires_at = now() + make_interval(secs => %(seconds)s), progress = %(progress)s,
    detail = %(detail)s, updated_at = now()
  WHERE work_id = %(work_id)s AND attempt = %(attempt)s AND state = 'running'
  RETURNING timer_id, expires_at, cancel_requested
), timer AS (
  UPDATE outbox SET due_at = lease.expires_at FROM lease
  WHERE outbox.id = lease.timer_id AND outbox.published_at IS NULL
)
SELECT cancel_requested FROM lease
"""
CLOSE: LiteralString = "UPDATE leases SET state = %(state)s, updated_at = now() WHERE work_id = %(work_id)s"
REQUEST_CANCEL: LiteralString = """
UPDATE leases SET cancel_requested = true WHERE task_id = %(task_id)s AND state = 'running'
"""
# Work that nobody has claimed yet is closed before anybody can.
CANCEL_UNCLAIMED: LiteralString = """
INSERT INTO leases (work_id, task_id, attempt, state, worker, timer_id, expires_at)
SELECT work_id, %(task_id)s, 1, 'cancelled', '', work_id, now() FROM unnest(%(work_ids)s::uuid[]) AS work_id
ON CONFLICT DO NOTHING
"""


@dataclass(frozen=True)
class Slot:
    """Where work is done: it hears that the service stops, and says that it lives and how far its work is."""

    draining: asyncio.Event
    loop: Loop
    tell: Tell


@dataclass(frozen=True)
class Long:
    """Handles a command whose work is longer than a transaction may be."""

    handle: WorkHandler

    async def __call__(
        self,
        database: Database,
        envelope: Envelope,
        *,
        limits: WorkLimits,
        acknowledge: Acknowledge,
        slot: Slot,
    ) -> None:
        message = envelope.message()
        work = await _claim(database, envelope, limits)
        await acknowledge()
        if work:
            await _run(lambda: self.handle(work, message), work, limits, slot)


async def request_cancel(session: Session, task_id: UUID, command_ids: Iterable[str] = ()) -> None:
    """The renewal of each running lease of the task learns of it within a second; commands that wait never start."""
    await session.execute(REQUEST_CANCEL, {"task_id": task_id})
    await session.execute(CANCEL_UNCLAIMED, {"task_id": task_id, "work_ids": [UUID(name) for name in command_ids]})


async def _claim(database: Database, envelope: Envelope, limits: WorkLimits) -> Work | None:
    """The next attempt; None when nothing is to do: done, cancelled, or in the hands of a worker that lives."""
    work_id = envelope.work_id or envelope.id
    async with database.tenant_transaction() as transaction:
        session, (first,) = await inbox.receive(transaction, [envelope], consumer=CONSUMER)
        lease = await session.row(LEASE, {"work_id": work_id})
        if lease is None and not first:
            return None
        if lease and not await _may_take(session, envelope, lease, limits, first=first):
            return None
        timer_id = await _emit_timer(session, envelope, work_id, limits.lease_seconds)
        taken = await session.row(
            TAKE,
            {
                "work_id": work_id,
                "task_id": envelope.task_id,
                "worker": limits.replica,
                "timer_id": timer_id,
                "seconds": limits.lease_seconds,
            },
        )
        assert taken is not None
        return Work(database, envelope, work_id, **taken)


async def _may_take(session: Session, envelope: Envelope, lease: DictRow, limits: WorkLimits, *, first: bool) -> bool:
    """Whether an earlier attempt left work to do; a command sent again revives work whose timer is lost."""
    if lease["state"] == "finished":
        await outbox.reply_again(session, lease["work_id"])
    if lease["state"] != "running":
        return False
    if lease["expires_at"] > lease["now"]:
        if first:
            await _move_timer(session, envelope, lease)
        return False
    if lease["cancel_requested"]:
        await session.execute(CLOSE, {"work_id": lease["work_id"], "state": "cancelled"})
        return False
    crashes = lease["attempt"] - lease["failures"] - lease["excused"]
    if crashes >= CRASHES_PER_ATTEMPT * limits.max_attempts:
        await session.execute(CLOSE, {"work_id": lease["work_id"], "state": "finished"})
        lost = StepFailure("worker_lost", f"The work ended its process {crashes} times.")
        await failing(envelope.task_id, lease["work_id"], lost)(session)
        return False
    return True


async def _move_timer(session: Session, envelope: Envelope, lease: DictRow) -> None:
    """The timer fired while its lease was being renewed: the worker lives, so look again when the lease ends."""
    remaining = (lease["expires_at"] - lease["now"]).total_seconds()
    timer_id = await _emit_timer(session, envelope, lease["work_id"], remaining)
    await session.execute(MOVE_TIMER, {"timer_id": timer_id, "work_id": lease["work_id"]})


async def _emit_timer(session: Session, envelope: Envelope, work_id: UUID, delay_seconds: float) -> UUID:
    service = next(iter(envelope.type.consumers))
    return await outbox.emit(
        session,
        envelope.message(),
        task_id=envelope.task_id,
        to=service,
        causation_id=envelope.id,
        work_id=work_id,
        delay_seconds=delay_seconds,
    )


async def _run(begin: Begin, work: Work, limits: WorkLimits, slot: Slot) -> None:
    bound = log.bind(type=work.envelope.type.short_name, work_id=str(work.work_id), attempt=work.attempt)
    bound.info("work.attempt.started")
    try:
        await _attempt(begin, work, limits, slot)
        bound.info("work.attempt.ended")
    except Superseded:
        bound.warning("work.attempt.superseded")
    except HandedOver:
        bound.info("work.attempt.handed_over")
    except AWAY as error:
        bound.warning("work.attempt.left", error=f"{type(error).__name__}: {error}")


async def _attempt(begin: Begin, work: Work, limits: WorkLimits, slot: Slot) -> None:
    """Every end of an attempt but three: Superseded and HandedOver are raised, because then nothing may be written, and
    what says that the database is away for longer than the lease, whose timer then brings the work back."""
    try:
        finish = await _work_under_lease(begin, work, limits, slot)
        await end_attempt(work, finish, limits)
    except (Superseded, HandedOver):
        raise
    except Cancelled:
        log.info("work.attempt.cancelled", work_id=str(work.work_id))
        await end_attempt(work, write_nothing, limits, state="cancelled")
    except Permanent as error:
        log.info("work.attempt.failed", work_id=str(work.work_id), reason=error.reason, error=str(error))
        await end_attempt(work, failing(work.task_id, work.work_id, error), limits)
    except Exception as error:  # the bus boundary: an unknown error is retried within bounds
        if outage := outage_of(error):
            await wait_out(work, outage, limits)
            return
        if not isinstance(error, Retryable):
            log.exception("work.attempt.crashed", work_id=str(work.work_id))
        await retry_or_fail(work, error, limits)


async def _work_under_lease(begin: Begin, work: Work, limits: WorkLimits, slot: Slot) -> Finish:
    working = asyncio.create_task(begin())
    renewing = asyncio.create_task(_renew_until_stopped(work, limits, slot))
    stopping = asyncio.create_task(slot.draining.wait())
    try:
        await asyncio.wait({working, renewing, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            return working.result()
        if renewing.done():
            renewing.result()
        await end(renewing)
        working.cancel()
        await hand_over(work, limits)  # whatever the handler still does, it writes nothing any more
        raise HandedOver("The worker was asked to stop.")
    finally:
        await end(working, renewing, stopping)


async def _renew_until_stopped(work: Work, limits: WorkLimits, slot: Slot) -> None:
    """Raises Cancelled, Stalled or Superseded; a database that does not answer is asked again until the lease is
    over."""
    loop = asyncio.get_running_loop()
    renewed = loop.time()
    while True:
        slot.loop.passed()
        await asyncio.sleep(RENEW_SECONDS)
        try:
            async with asyncio.timeout_at(max(renewed + limits.lease_seconds, loop.time() + RENEW_SECONDS)):
                row = await _renew(work, limits)
        except TaskEnded as error:
            raise Superseded("The task has ended.") from error
        except (psycopg.OperationalError, TimeoutError) as error:
            if loop.time() >= renewed + limits.lease_seconds:
                raise Superseded("The lease could not be renewed.") from error
            continue
        renewed = loop.time()
        if row is None:
            raise Superseded("Another attempt holds the lease.")
        if row["cancel_requested"]:
            raise Cancelled("The task was cancelled.")
        await slot.tell(work)
        if time.monotonic() - work.moved_at > limits.stall_seconds:
            raise Stalled(f"The work got no further for {limits.stall_seconds:.0f} seconds, at '{work.detail}'.")


async def _renew(work: Work, limits: WorkLimits) -> DictRow | None:
    with suppress_instrumentation():
        async with work.database.tenant_session(work.proof) as session:
            return await session.row(RENEW, key(work) | {"seconds": limits.lease_seconds, "detail": work.detail})
