"""Long work: claim, work with no transaction open, finish. The lease in PostgreSQL is the only lease.

A claim leaves a timer in the outbox: the command itself, due when the lease ends. Renewing postpones it, finishing
withdraws it, so a worker that died is followed by another and nobody has to look for it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from dataclasses import dataclass, field
from typing import LiteralString, TypeAlias
from uuid import UUID

import psycopg
import structlog
from google.protobuf.message import Message
from opentelemetry.instrumentation.utils import suppress_instrumentation
from psycopg.rows import DictRow

from morningai.api.events.v1 import events_pb2 as events
from morningai.api.tasks.v1 import tasks_pb2 as tasks
from morningai.bus import inbox, outbox
from morningai.bus.envelope import Envelope
from morningai.bus.handling import Acknowledge, check_seal
from morningai.bus.retry import retry_delay_seconds
from morningai.db.session import Database, Session
from morningai.ending import end
from morningai.errors import (
    MorningAIError,
    Permanent,
    Poison,
    Retryable,
    StepFailure,
    TaskEnded,
    Unauthenticated,
    plain,
)

log = structlog.get_logger()

CONSUMER = "work"
RENEW_SECONDS = 1.0
# A process may die of what is not the work's fault, so takeovers are bounded less tightly than errors.
CRASHES_PER_ATTEMPT = 3

# Runs inside the finish transaction: stores the result and emits the reply.
Finish: TypeAlias = Callable[[Session], Awaitable[None]]
WorkHandler: TypeAlias = Callable[["Work", Message], Coroutine[None, None, Finish]]

LEASE: LiteralString = "SELECT *, now() AS now FROM leases WHERE work_id = %(work_id)s FOR UPDATE"
MOVE_TIMER: LiteralString = "UPDATE leases SET timer_id = %(timer_id)s WHERE work_id = %(work_id)s"
TAKE: LiteralString = """
INSERT INTO leases (work_id, task_id, attempt, state, worker, timer_id, expires_at)
VALUES (%(work_id)s, %(task_id)s, 1, 'running', %(worker)s, %(timer_id)s, now() + make_interval(secs => %(seconds)s))
ON CONFLICT (tenant_id, work_id) DO UPDATE
SET attempt = leases.attempt + 1, worker = excluded.worker, timer_id = excluded.timer_id,
    expires_at = excluded.expires_at, updated_at = now()
WHERE leases.state = 'running'
RETURNING attempt
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
END: LiteralString = """
UPDATE leases SET state = %(state)s, progress = %(progress)s, updated_at = now()
WHERE work_id = %(work_id)s AND attempt = %(attempt)s AND state = 'running'
RETURNING timer_id
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


class Superseded(MorningAIError):
    """Another attempt holds the lease; nothing of this one may be written."""

    reason = "SUPERSEDED"


class Stalled(Retryable):
    """The attempt renews its lease and gets no further."""

    reason = "STALLED"


class Cancelled(MorningAIError):
    reason = "CANCELLED"


@dataclass(frozen=True)
class WorkLimits:
    """How long a lease lasts, how many attempts are made, by whom, the first retry delay, and how long an attempt may
    get no further; times in seconds."""

    replica: str
    lease_seconds: float
    max_attempts: int
    retry_delay_seconds: float
    stall_seconds: float


@dataclass
class Work:
    """One attempt at one command, as its handler sees it."""

    database: Database
    envelope: Envelope
    work_id: UUID
    attempt: int
    fraction: float = 0.0
    detail: str = ""
    moved_at: float = field(default_factory=time.monotonic)

    @property
    def proof(self) -> str:
        return self.envelope.seal

    @property
    def task_id(self) -> UUID:
        return self.envelope.task_id

    def progress(self, fraction: float, detail: str) -> None:
        """Note how far it is (0 to 1); the next renewal writes it. An attempt that says nothing new is stalled."""
        said = (fraction, plain(detail))
        if said != (self.fraction, self.detail):
            self.moved_at = time.monotonic()
        self.fraction, self.detail = said


@dataclass(frozen=True)
class Long:
    """Handles a command whose work is longer than a transaction may be."""

    handle: WorkHandler

    async def __call__(
        self, database: Database, envelope: Envelope, *, limits: WorkLimits, acknowledge: Acknowledge
    ) -> None:
        message = envelope.message()
        try:
            work = await _claim(database, envelope, limits)
        except Unauthenticated as error:
            raise Poison(f"The seal of {envelope.type.short_name} {envelope.id} is not valid.") from error
        await acknowledge()
        if work:
            await _run(self.handle, work, message, limits)


async def request_cancel(session: Session, task_id: UUID, command_ids: Iterable[str] = ()) -> None:
    """The renewal of each running lease of the task learns of it within a second; commands that wait never start."""
    await session.execute(REQUEST_CANCEL, {"task_id": task_id})
    await session.execute(CANCEL_UNCLAIMED, {"task_id": task_id, "work_ids": [UUID(name) for name in command_ids]})


async def _claim(database: Database, envelope: Envelope, limits: WorkLimits) -> Work | None:
    """The next attempt; None when nothing is to do: done, cancelled, or in the hands of a worker that lives."""
    work_id = envelope.work_id or envelope.id
    async with database.tenant_session(envelope.seal) as session:
        check_seal(session, envelope)
        first = await inbox.receive(session, envelope, consumer=CONSUMER)
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
        return Work(database, envelope, work_id, attempt=taken["attempt"])


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
    if lease["attempt"] >= CRASHES_PER_ATTEMPT * limits.max_attempts:
        await session.execute(CLOSE, {"work_id": lease["work_id"], "state": "finished"})
        lost = StepFailure("worker_lost", f"The work ended its process {lease['attempt']} times.")
        await _failure(envelope.task_id, lease["work_id"], lost)(session)
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


async def _run(handle: WorkHandler, work: Work, message: Message, limits: WorkLimits) -> None:
    bound = log.bind(type=work.envelope.type.short_name, work_id=str(work.work_id), attempt=work.attempt)
    bound.info("work.attempt.started")
    try:
        await _attempt(handle, work, message, limits)
        bound.info("work.attempt.ended")
    except Superseded:
        bound.warning("work.attempt.superseded")


async def _attempt(handle: WorkHandler, work: Work, message: Message, limits: WorkLimits) -> None:
    """Every end of an attempt but one: Superseded is raised, because then nothing may be written."""
    try:
        finish = await _work_under_lease(handle, work, message, limits)
        await _finish(work, finish)
    except Superseded:
        raise
    except Cancelled:
        log.info("work.attempt.cancelled", work_id=str(work.work_id))
        async with work.database.tenant_session(work.proof) as session:
            await _end_lease(session, work, "cancelled")
    except Permanent as error:
        log.info("work.attempt.failed", work_id=str(work.work_id), reason=error.reason, error=str(error))
        await _finish(work, _failure(work.task_id, work.work_id, error))
    except Exception as error:  # the bus boundary: an unknown error is retried within bounds
        if not isinstance(error, Retryable):
            log.exception("work.attempt.crashed", work_id=str(work.work_id))
        await _retry_or_fail(work, error, limits)


async def _work_under_lease(handle: WorkHandler, work: Work, message: Message, limits: WorkLimits) -> Finish:
    working = asyncio.create_task(handle(work, message))
    renewing = asyncio.create_task(_renew_until_stopped(work, limits))
    try:
        await asyncio.wait({working, renewing}, return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            return working.result()
        renewing.result()
        raise Superseded("The lease ended.")
    finally:
        await end(working, renewing)


async def _renew_until_stopped(work: Work, limits: WorkLimits) -> None:
    """Raises Cancelled, Stalled or Superseded; a database that does not answer is asked again until the lease is
    over."""
    loop = asyncio.get_running_loop()
    renewed = loop.time()
    while True:
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
        if time.monotonic() - work.moved_at > limits.stall_seconds:
            raise Stalled(f"The work got no further for {limits.stall_seconds:.0f} seconds, at '{work.detail}'.")


async def _renew(work: Work, limits: WorkLimits) -> DictRow | None:
    with suppress_instrumentation():
        async with work.database.tenant_session(work.proof) as session:
            return await session.row(RENEW, _key(work) | {"seconds": limits.lease_seconds, "detail": work.detail})


async def _finish(work: Work, finish: Finish) -> None:
    async with work.database.tenant_session(work.proof) as session:
        await _end_lease(session, work, "finished")
        await finish(session)


async def _end_lease(session: Session, work: Work, state: str) -> None:
    row = await session.row(END, _key(work) | {"state": state})
    if row is None:
        raise Superseded("Another attempt holds the lease.")
    await outbox.withdraw(session, row["timer_id"])


def _key(work: Work) -> dict[str, object]:
    return {"work_id": work.work_id, "attempt": work.attempt, "progress": work.fraction}


def _failure(task_id: UUID, work_id: UUID, error: MorningAIError) -> Finish:
    failure = tasks.Failure(reason=error.reason, message=plain(error.message), remedy=plain(error.remedy))

    async def finish(session: Session) -> None:
        await outbox.emit(session, events.StepFailed(failure=failure), task_id=task_id, causation_id=work_id)

    return finish


async def _retry_or_fail(work: Work, error: Exception, limits: WorkLimits) -> None:
    if work.attempt >= limits.max_attempts:
        known = error if isinstance(error, MorningAIError) else MorningAIError(f"{type(error).__name__}: {error}")
        await _finish(work, _failure(work.task_id, work.work_id, known))
        return
    asked = error.retry_after_seconds if isinstance(error, Retryable) else None
    delay = asked or retry_delay_seconds(work.attempt, first=limits.retry_delay_seconds)
    log.warning("work.attempt.retried", attempt=work.attempt, delay_seconds=round(delay, 1), error=str(error))
    async with work.database.tenant_session(work.proof) as session:
        await session.execute(
            RENEW, _key(work) | {"seconds": delay, "detail": plain(f"attempt {work.attempt} failed: {error}")}
        )
        session.wakes_relay = True
