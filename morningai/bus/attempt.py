"""How one attempt at long work ends: finished, failed, cancelled, or given back for another one.

Only the attempt that holds the lease ends it; whatever another one writes is rolled back.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import LiteralString, TypeAlias
from uuid import UUID

import psycopg
import structlog

from morningai.api.events.v1 import events_pb2 as events
from morningai.api.tasks.v1 import tasks_pb2 as tasks
from morningai.bus import outbox
from morningai.bus.envelope import Envelope
from morningai.bus.outages import outage_of
from morningai.bus.retry import LONGEST_OUTAGE_SECONDS, retry_delay_seconds
from morningai.db.session import Database, Session
from morningai.errors import MorningAIError, Outage, Retryable, plain

log = structlog.get_logger()

ASK_AGAIN_SECONDS = 0.25
# Of an attempt that met an outage at its end, no more than a call may wait for an answer counts as waiting.
LONGEST_WITHOUT_ANSWER_SECONDS = 30.0
# Runs inside the finish transaction: stores the result and emits the reply.
Finish: TypeAlias = Callable[[Session], Awaitable[None]]

GIVE_BACK: LiteralString = """
WITH lease AS (
  UPDATE leases SET expires_at = now() + make_interval(secs => %(seconds)s), progress = %(progress)s,
    detail = %(detail)s, failures = failures + %(failures)s, excused = excused + %(excused)s,
    outage_seconds = outage_seconds + %(outage_seconds)s, updated_at = now()
  WHERE work_id = %(work_id)s AND attempt = %(attempt)s AND state = 'running'
  RETURNING timer_id, expires_at
)
UPDATE outbox SET due_at = lease.expires_at FROM lease
WHERE outbox.id = lease.timer_id AND outbox.published_at IS NULL
"""
END: LiteralString = """
UPDATE leases SET state = %(state)s, progress = %(progress)s, updated_at = now()
WHERE work_id = %(work_id)s AND attempt = %(attempt)s AND state = 'running'
RETURNING timer_id
"""


class Superseded(MorningAIError):
    """Another attempt holds the lease; nothing of this one may be written."""

    reason = "SUPERSEDED"


class Stalled(Retryable):
    """The attempt renews its lease and gets no further."""

    reason = "STALLED"


class Cancelled(MorningAIError):
    reason = "CANCELLED"


class HandedOver(MorningAIError):
    """The worker is asked to stop and has given its lease back."""

    reason = "HANDED_OVER"


@dataclass(frozen=True)
class WorkLimits:
    """How long a lease lasts, how many attempts are made, by whom, the first retry delay, how long an attempt may get
    no further, and how long parts that are away are waited for; times in seconds."""

    replica: str
    lease_seconds: float
    max_attempts: int
    retry_delay_seconds: float
    stall_seconds: float
    outage_seconds: float


@dataclass
class Work:
    """One attempt at one command, as its handler sees it; `failures` and `outage_seconds` are of those before it."""

    database: Database
    envelope: Envelope
    work_id: UUID
    attempt: int
    failures: int = 0
    outage_seconds: float = 0.0
    fraction: float = 0.0
    detail: str = ""
    began_at: float = field(default_factory=time.monotonic)
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


async def end_attempt(work: Work, finish: Finish, limits: WorkLimits, *, state: str = "finished") -> None:
    async def end_and_finish(session: Session) -> None:
        await _end_lease(session, work, state)
        await finish(session)

    await _in_one_transaction(work, end_and_finish, limits)


async def _in_one_transaction(work: Work, write: Finish, limits: WorkLimits) -> None:
    """A database that does not answer is asked again for as long as the lease may last; where it had committed and
    could not say so, the lease is found ended."""
    loop = asyncio.get_running_loop()
    until = loop.time() + limits.lease_seconds
    while True:
        try:
            async with work.database.tenant_session(work.proof) as session:
                return await write(session)
        except psycopg.Error as error:
            if not outage_of(error) or loop.time() + ASK_AGAIN_SECONDS >= until:
                raise
        await asyncio.sleep(ASK_AGAIN_SECONDS)


async def write_nothing(_: Session) -> None:
    """Of cancelled work nothing is left to write."""


async def _end_lease(session: Session, work: Work, state: str) -> None:
    row = await session.row(END, key(work) | {"state": state})
    if row is None:
        raise Superseded("Another attempt holds the lease.")
    await outbox.withdraw(session, row["timer_id"])


def key(work: Work) -> dict[str, object]:
    return {"work_id": work.work_id, "attempt": work.attempt, "progress": work.fraction}


def failing(task_id: UUID, work_id: UUID, error: MorningAIError) -> Finish:
    failure = tasks.Failure(reason=error.reason, message=plain(error.message), remedy=plain(error.remedy))

    async def finish(session: Session) -> None:
        await outbox.emit(session, events.StepFailed(failure=failure), task_id=task_id, causation_id=work_id)

    return finish


async def retry_or_fail(work: Work, error: Exception, limits: WorkLimits) -> None:
    failures = work.failures + 1
    if failures >= limits.max_attempts:
        known = error if isinstance(error, MorningAIError) else MorningAIError(f"{type(error).__name__}: {error}")
        await end_attempt(work, failing(work.task_id, work.work_id, known), limits)
        return
    asked = error.retry_after_seconds if isinstance(error, Retryable) else None
    delay = asked or retry_delay_seconds(failures, first=limits.retry_delay_seconds)
    log.warning("work.attempt.retried", attempt=work.attempt, delay_seconds=round(delay, 1), error=str(error))
    await _give_back(work, limits, seconds=delay, detail=f"attempt {work.attempt} failed: {error}", failures=1)


async def wait_out(work: Work, outage: Outage, limits: WorkLimits) -> None:
    """The next attempt comes soon after the part is back, however many find it away; what ends is the time."""
    delay = retry_delay_seconds(work.attempt, first=limits.retry_delay_seconds, longest=LONGEST_OUTAGE_SECONDS)
    lasted = delay + min(time.monotonic() - work.began_at, LONGEST_WITHOUT_ANSWER_SECONDS)
    waited = work.outage_seconds + lasted
    if waited >= limits.outage_seconds:
        log.warning("work.attempt.outage_ended", work_id=str(work.work_id), error=str(outage))
        await end_attempt(work, failing(work.task_id, work.work_id, _given_up(outage, waited)), limits)
        return
    log.warning("work.attempt.waits", attempt=work.attempt, delay_seconds=round(delay, 1), error=str(outage))
    await _give_back(work, limits, seconds=delay, detail=str(outage), excused=1, outage_seconds=lasted)


async def hand_over(work: Work, limits: WorkLimits) -> None:
    """Another replica goes on at once, or this one after its next start."""
    await _give_back(work, limits, seconds=0, detail="the worker was asked to stop; another goes on", excused=1)


def _given_up(outage: Outage, waited_seconds: float) -> Outage:
    return Outage(
        f"{outage.message} It was waited for for {waited_seconds:.0f} seconds.",
        remedy="Retry the task once it is there again.",
    )


async def _give_back(
    work: Work,
    limits: WorkLimits,
    *,
    seconds: float,
    detail: str,
    failures: int = 0,
    excused: int = 0,
    outage_seconds: float = 0.0,
) -> None:
    """The lease ends in so many seconds, and its timer brings another attempt, at any replica."""
    given = {"seconds": seconds, "detail": plain(detail), "failures": failures, "excused": excused}

    async def give_back(session: Session) -> None:
        await session.execute(GIVE_BACK, key(work) | given | {"outage_seconds": outage_seconds})
        session.wakes_relay = True

    await _in_one_transaction(work, give_back, limits)
