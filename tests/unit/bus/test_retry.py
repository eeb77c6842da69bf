from __future__ import annotations

import pytest

from morningai.bus.retry import LONGEST_SECONDS, retry_delay_seconds


def delays(attempt, first):
    return [retry_delay_seconds(attempt, first=first) for _ in range(200)]


@pytest.mark.parametrize(
    ("attempt", "first", "whole"),
    [(1, 1.0, 1.0), (2, 1.0, 2.0), (5, 1.0, 16.0), (7, 1.0, LONGEST_SECONDS), (10_000, 1.0, LONGEST_SECONDS)],
)
def test_a_delay_lies_in_the_upper_half_of_its_doubled_bound(attempt, first, whole):
    assert whole / 2 <= min(delays(attempt, first))
    assert max(delays(attempt, first)) <= whole


def test_no_delay_is_longer_than_the_longest():
    assert max(delays(3, 1000.0)) <= LONGEST_SECONDS


def test_the_longest_delay_may_be_given_and_is_spread_too():
    delays_of_outage = [retry_delay_seconds(50, first=1.0, longest=3.0) for _ in range(200)]
    assert 1.5 <= min(delays_of_outage) <= max(delays_of_outage) <= 3.0
    assert len(set(delays_of_outage)) > 100


def test_delays_are_spread():
    assert len(set(delays(1, 1.0))) > 100
