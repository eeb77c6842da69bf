"""What a chaos run does follows from its seed alone, and leaves out no fail point."""

from __future__ import annotations

from collections import Counter

from tests.chaos.points import BY_NAME, POINTS
from tests.chaos.schedule import KILLS, Kind, make_schedule

SCHEDULE = make_schedule(7, tasks=300, kills=24)


def test_the_same_seed_gives_the_same_faults():
    assert make_schedule(7, tasks=300, kills=24) == SCHEDULE


def test_another_seed_gives_others():
    assert make_schedule(8, tasks=300, kills=24) != SCHEDULE


def test_there_are_as_many_kills_as_asked_for():
    assert sum(fault.kind in KILLS for fault in SCHEDULE) == 24


def test_every_fail_point_is_armed():
    assert {fault.point for fault in SCHEDULE if fault.kind is Kind.POINT} == {point.name for point in POINTS}


def test_a_point_is_armed_where_it_is_passed():
    armed = [fault for fault in SCHEDULE if fault.kind is Kind.POINT]
    assert all(fault.target in BY_NAME[fault.point].services for fault in armed)


def test_the_stores_are_killed_as_soon_as_there_are_kills_left():
    assert {fault.target for fault in SCHEDULE if fault.kind is Kind.KILL} >= {"nats", "postgres"}


def test_every_milder_fault_is_in_it():
    assert set(Counter(fault.kind for fault in SCHEDULE)) >= set(Kind) - {Kind.LOSE_BUS}


def test_a_long_run_loses_the_bus_once():
    long = make_schedule(7, tasks=600, kills=40)
    assert [fault.kind for fault in long].count(Kind.LOSE_BUS) == 1


def test_faults_are_done_while_there_are_tasks():
    assert all(0 < fault.after < 300 for fault in SCHEDULE)
    assert [fault.after for fault in SCHEDULE] == sorted(fault.after for fault in SCHEDULE)
