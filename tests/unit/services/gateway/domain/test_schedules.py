"""When schedules fire: clocks that change, and what becomes of firings that were missed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from morningai.errors import InvalidInput
from services.gateway.domain.schedules import (
    CommitTrigger,
    Cron,
    Firing,
    MissedPolicy,
    Occasion,
    Plan,
    check_commit_trigger,
    check_cron,
    check_display_name,
    fired_task_id,
    next_poll_seconds,
    next_time,
    plan,
)

NOW = datetime(2026, 11, 27, 12, 30, tzinfo=UTC)
NOON = datetime(2026, 11, 27, 12, tzinfo=UTC)
HOURLY = Cron("0 * * * *", "UTC")


def times(expression, after, count, *, zone="Europe/Berlin"):
    found = [after]
    for _ in range(count):
        found.append(next_time(Cron(expression, zone), found[-1]))
    return [f"{time:%d %H:%M}" for time in found[1:]]


SPRING, AUTUMN = datetime(2026, 3, 28, 12, tzinfo=UTC), datetime(2026, 10, 24, 12, tzinfo=UTC)


def test_an_hour_is_read_in_its_time_zone():
    assert times("30 6 * * *", NOW, 2) == ["28 05:30", "29 05:30"]


def test_a_fixed_time_that_is_left_out_comes_when_the_clocks_have_gone_forward():
    assert times("30 2 * * *", SPRING, 2) == ["29 01:00", "30 00:30"]


def test_a_fixed_time_that_is_there_twice_comes_once():
    assert times("30 2 * * *", AUTUMN, 2) == ["25 00:30", "26 01:30"]


def test_times_of_every_hour_come_in_every_hour_when_clocks_go_forward():
    assert times("*/30 * * * *", datetime(2026, 3, 29, 0, 15, tzinfo=UTC), 3) == ["29 00:30", "29 01:00", "29 01:30"]


def test_times_of_every_hour_come_in_both_hours_that_clocks_show_twice():
    assert times("*/30 * * * *", datetime(2026, 10, 25, 0, 15, tzinfo=UTC), 4) == [
        *("25 00:30", "25 01:00"),
        *("25 01:30", "25 02:00"),
    ]


def test_an_empty_time_zone_is_utc():
    assert check_cron(" 0  6 * * * ", "", now=NOW) == Cron("0 6 * * *", "UTC")


@pytest.mark.parametrize("expression", ["", "* * * *", "* * * * * *", "60 * * * *", "x * * * *", "0 0 30 2 *"])
def test_a_wrong_expression_is_named(expression):
    with pytest.raises(InvalidInput) as refused:
        check_cron(expression, "UTC", now=NOW)
    assert refused.value.field == "schedule.cron.expression"


@pytest.mark.parametrize("zone", ["Mars", "../etc/passwd", "/etc/passwd", "Europe", "Europe/Berlin\0"])
def test_a_wrong_time_zone_is_named(zone):
    with pytest.raises(InvalidInput) as refused:
        check_cron("0 6 * * *", zone, now=NOW)
    assert refused.value.field == "schedule.cron.time_zone"


@pytest.mark.parametrize("name", ["", " ", "x" * 101, "a\nb"])
def test_a_wrong_display_name_is_named(name):
    with pytest.raises(InvalidInput) as refused:
        check_display_name(name)
    assert refused.value.field == "schedule.display_name"


@pytest.mark.parametrize("policy", MissedPolicy)
def test_a_firing_in_time_is_followed_by_the_next(policy):
    now = NOON + timedelta(seconds=59)
    assert plan(HOURLY, policy, Firing(NOON), now) == Plan(NOON, Firing(NOON + timedelta(hours=1)))


def test_a_timer_that_comes_early_fires_for_its_own_time():
    later = NOON + timedelta(hours=3)
    assert plan(HOURLY, MissedPolicy.SKIP, Firing(later), NOW) == Plan(later, Firing(later + timedelta(hours=1)))


def test_missed_firings_are_skipped():
    due = Firing(NOON - timedelta(hours=5))
    assert plan(HOURLY, MissedPolicy.SKIP, due, NOW) == Plan(None, Firing(NOON + timedelta(hours=1)))


def test_after_missed_firings_one_that_is_in_time_fires():
    now = NOON + timedelta(seconds=30)
    expected = Plan(NOON, Firing(NOON + timedelta(hours=1)))
    assert plan(HOURLY, MissedPolicy.SKIP, Firing(NOON - timedelta(hours=5)), now) == expected


def test_missed_firings_are_caught_up_one_after_the_other():
    due = Firing(NOON - timedelta(hours=5))
    expected = Plan(due.time, Firing(NOON - timedelta(hours=4), caught_up=1))
    assert plan(HOURLY, MissedPolicy.CATCH_UP, due, NOW) == expected


def test_no_firing_older_than_a_day_is_caught_up():
    planned = plan(HOURLY, MissedPolicy.CATCH_UP, Firing(NOON - timedelta(days=9)), NOW)
    assert planned.fires_for == NOON - timedelta(hours=23)


def test_after_ten_in_a_row_the_rest_is_skipped():
    due = Firing(NOON - timedelta(hours=5), caught_up=10)
    planned = plan(HOURLY, MissedPolicy.CATCH_UP, due, NOW)
    assert planned == Plan(None, Firing(NOON + timedelta(hours=1)))


def test_the_same_firing_makes_the_same_task_and_another_another():
    schedule_id = uuid4()
    elsewhere = NOON.astimezone(datetime.now().astimezone().tzinfo)
    assert fired_task_id(schedule_id, Occasion(NOON)) == fired_task_id(schedule_id, Occasion(elsewhere))
    assert fired_task_id(schedule_id, Occasion(NOON)) != fired_task_id(schedule_id, Occasion(NOW))
    assert fired_task_id(schedule_id, Occasion(NOON)) != fired_task_id(uuid4(), Occasion(NOON))


def test_the_same_commit_makes_the_same_task_whenever_it_was_found():
    schedule_id = uuid4()
    found = fired_task_id(schedule_id, Occasion(NOON, "a" * 40))
    assert found == fired_task_id(schedule_id, Occasion(NOW, "a" * 40))
    assert found != fired_task_id(schedule_id, Occasion(NOON, "b" * 40))


def test_a_branch_is_looked_at_every_five_minutes_unless_said_otherwise():
    assert check_commit_trigger("main", None) == CommitTrigger("main", timedelta(minutes=5))
    assert check_commit_trigger("", timedelta(hours=1)) == CommitTrigger("", timedelta(hours=1))


@pytest.mark.parametrize(
    ("branch", "interval", "field"),
    [
        ("--upload-pack=x", None, "schedule.commit.branch"),
        ("refs/heads/main", None, "schedule.commit.branch"),
        ("main", timedelta(seconds=59), "schedule.commit.poll_interval"),
        ("main", timedelta(days=1, seconds=1), "schedule.commit.poll_interval"),
    ],
)
def test_what_is_wrong_with_a_commit_trigger_is_named(branch, interval, field):
    with pytest.raises(InvalidInput) as refused:
        check_commit_trigger(branch, interval)
    assert refused.value.field == field


@pytest.mark.parametrize(
    ("minutes", "failed", "jitter", "seconds"),
    [(5, 0, 0.5, 300), (5, 1, 0, 600), (5, 1, 1, 300), (5, 2, 0, 1200), (5, 9, 0, 3600), (120, 3, 0, 7200)],
)
def test_a_branch_that_cannot_be_looked_at_is_asked_for_more_rarely(minutes, failed, jitter, seconds):
    trigger = CommitTrigger("main", timedelta(minutes=minutes))
    assert next_poll_seconds(trigger, failed, jitter=jitter) == seconds
