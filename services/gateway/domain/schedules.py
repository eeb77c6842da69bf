"""When a schedule fires: cron expressions in a time zone or commits of a branch, and what becomes of firings that were
missed."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from uuid import UUID, uuid5
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cronsim import CronSim, CronSimError

from morningai.branch import parse_branch
from morningai.errors import InvalidInput
from services.gateway.domain.tasks import Failure, NewTask

FIELDS = 5
LONGEST_EXPRESSION = 200
LONGEST_DISPLAY_NAME = 100
MOST_SCHEDULES = 100
# A firing that comes later than this was missed.
LATE = timedelta(minutes=1)
# What is made up for: so many firings in a row, none older than that.
MOST_CAUGHT_UP = 10
OLDEST_CAUGHT_UP = timedelta(days=1)
# How often a branch is looked at; one that cannot be is asked for more and more rarely.
POLL_INTERVAL = timedelta(minutes=5)
SHORTEST_POLL_INTERVAL = timedelta(minutes=1)
LONGEST_POLL_INTERVAL = timedelta(days=1)
LONGEST_BACKOFF = timedelta(hours=1)
EXPRESSION_REMEDY = "Use five fields of cron: minute, hour, day of month, month, day of week, e.g. 30 6 * * mon-fri."
ZONE_REMEDY = "Use a name of the IANA database, e.g. Europe/Berlin."


class MissedPolicy(StrEnum):
    SKIP = "skip"
    CATCH_UP = "catch_up"


class OverlapPolicy(StrEnum):
    ALLOW = "allow"
    SKIP = "skip"
    QUEUE = "queue"


class ScheduleState(StrEnum):
    ACTIVE = "active"
    PAUSED = "paused"


@dataclass(frozen=True)
class Cron:
    expression: str
    time_zone: str


@dataclass(frozen=True)
class CommitTrigger:
    """`branch` is empty for the source's default one."""

    branch: str
    poll_interval: timedelta


@dataclass(frozen=True)
class NewSchedule:
    """A request that passed every check; `task.request_id` is that of the schedule."""

    display_name: str
    task: NewTask
    trigger: Cron | CommitTrigger
    missed_policy: MissedPolicy
    overlap_policy: OverlapPolicy = OverlapPolicy.SKIP

    @property
    def request_id(self) -> UUID:
        return self.task.request_id


@dataclass(frozen=True)
class Occasion:
    """What a schedule fires for: a time of its cron expression, or a commit that was found then."""

    time: datetime
    commit: str = ""


@dataclass(frozen=True)
class Waiting:
    """A firing that waits for the task before it, and the held message that makes it."""

    message_id: UUID
    occasion: Occasion


@dataclass(frozen=True)
class Watch:
    """What a commit trigger knows of its branch.

    `settled` is the commit that fired last or was there first, `found` a newer one that is still to fire, `check_id`
    the question to docs that is not answered yet.
    """

    settled: str
    found: str
    check_id: UUID | None
    asked_at: datetime | None
    checked_at: datetime | None
    failed_checks: int
    failure: Failure | None


@dataclass(frozen=True)
class Schedule:
    schedule_id: UUID
    content: NewSchedule
    state: ScheduleState
    principal: str
    timer_id: UUID | None
    next_fire_at: datetime | None
    last_fire_at: datetime | None
    last_task_id: UUID | None
    newest_task_id: UUID | None
    last_failure: Failure | None
    watch: Watch
    waiting: Waiting | None
    skipped_count: int
    last_skip_at: datetime | None
    last_skip: Failure | None
    revision: int
    created_at: datetime
    updated_at: datetime

    @property
    def name(self) -> str:
        return f"schedules/{self.schedule_id}"

    @property
    def etag(self) -> str:
        return str(self.revision)

    @property
    def key(self) -> tuple[datetime, UUID]:
        """Where it stands among the tenant's schedules."""
        return self.created_at, self.schedule_id


@dataclass(frozen=True)
class Firing:
    """One that is due; `caught_up` counts the missed ones that were made up for just before it."""

    time: datetime
    caught_up: int = 0


@dataclass(frozen=True)
class Plan:
    """What a timer comes to; `fires_for` is None when every firing that was due is skipped."""

    fires_for: datetime | None
    following: Firing


def check_cron(expression: str, time_zone: str, *, now: datetime) -> Cron:
    """Raises InvalidInput that names the field and the remedy."""
    cron = Cron(" ".join(expression.split()), time_zone.strip() or "UTC")
    if len(cron.expression) > LONGEST_EXPRESSION or len(cron.expression.split()) != FIELDS:
        raise InvalidInput("schedule.cron.expression", "does not have five fields.", remedy=EXPRESSION_REMEDY)
    _check_zone(cron.time_zone)
    try:
        next_time(cron, now)
    except CronSimError as error:
        raise InvalidInput("schedule.cron.expression", f"{error}.", remedy=EXPRESSION_REMEDY) from error
    except StopIteration as error:
        raise InvalidInput(
            "schedule.cron.expression", "names no day that there is.", remedy=EXPRESSION_REMEDY
        ) from error
    return cron


def check_commit_trigger(branch: str, poll_interval: timedelta | None) -> CommitTrigger:
    """Raises InvalidInput that names the field and the remedy."""
    interval = POLL_INTERVAL if poll_interval is None else poll_interval
    if not SHORTEST_POLL_INTERVAL <= interval <= LONGEST_POLL_INTERVAL:
        raise InvalidInput(
            "schedule.commit.poll_interval", "is too short or too long.", remedy="Use a minute to a day, e.g. 300s."
        )
    return CommitTrigger(branch and parse_branch(branch, field="schedule.commit.branch"), interval)


def next_poll_seconds(trigger: CommitTrigger, failed_checks: int, *, jitter: float) -> float:
    """Until a branch is looked at again: longer each time that it could not be, by a `jitter` of 0 to 1."""
    interval = trigger.poll_interval.total_seconds()
    longest = max(interval, LONGEST_BACKOFF.total_seconds())
    whole = min(interval * 2.0 ** min(failed_checks, 16), longest)
    return whole if failed_checks == 0 else whole * (1 - jitter / 2)


def check_display_name(display_name: str) -> str:
    text = display_name.strip()
    if not text or len(text) > LONGEST_DISPLAY_NAME or not text.isprintable():
        raise InvalidInput(
            "schedule.display_name",
            "is empty, too long or not printable.",
            remedy=f"Say what it is for in 1 to {LONGEST_DISPLAY_NAME} characters.",
        )
    return text


def _check_zone(name: str) -> None:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise InvalidInput("schedule.cron.time_zone", f"'{name}' is not a time zone.", remedy=ZONE_REMEDY) from error


def next_time(cron: Cron, after: datetime) -> datetime:
    """The first time after a moment, as Debian's cron has it where clocks change.

    A fixed hour that is left out comes when the clocks have gone forward, one that is there twice comes once; times of
    every hour come in every hour.
    """
    return next(CronSim(cron.expression, after.astimezone(ZoneInfo(cron.time_zone)))).astimezone(UTC)


def plan(cron: Cron, policy: MissedPolicy, due: Firing, now: datetime) -> Plan:
    """What a timer comes to that is handled now, however late."""
    tolerance = _tolerance(policy, due)
    if now - due.time <= tolerance:
        return _fires(cron, due, now)
    following = next_time(cron, now - tolerance)
    if following <= now:
        return _fires(cron, replace(due, time=following), now)
    return Plan(None, Firing(following))


def fired_task_id(schedule_id: UUID, occasion: Occasion) -> UUID:
    """The same time and the same commit make the same task."""
    return uuid5(schedule_id, occasion.commit or occasion.time.astimezone(UTC).isoformat())


def _tolerance(policy: MissedPolicy, due: Firing) -> timedelta:
    catches_up = policy is MissedPolicy.CATCH_UP and due.caught_up < MOST_CAUGHT_UP
    return OLDEST_CAUGHT_UP if catches_up else LATE


def _fires(cron: Cron, due: Firing, now: datetime) -> Plan:
    was_missed = now - due.time > LATE
    return Plan(due.time, Firing(next_time(cron, due.time), due.caught_up + 1 if was_missed else 0))
