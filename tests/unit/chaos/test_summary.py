"""A run passes only when nothing is lost, doubled, found or left out."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.chaos.summary import Summary, percentile

GOOD = Summary(
    seed=7,
    tasks=30,
    acknowledged=30,
    ends={"succeeded": 28, "cancelled": 1, "failed": 1},
    failures={"MODEL_UNAVAILABLE": 1},
    faults={"drop": 1},
    kills={"kill nats": 1, "point docs": 2},
    points_hit=2,
    points=17,
    points_missed=[],
    in_flight=1.0,
    deliveries={"succeeded": 2},
    decisions={"approved": 1, "rejected": 1},
    watches=15,
    watches_resumed=4,
    lost=0,
    duplicated=0,
    findings=[],
    recovery_p50=0.5,
    recovery_p99=4.25,
    seconds=61.0,
    folder="/tmp/chaos-7",
    repeat="again: make chaos SEED=7 TASKS=30 KILLS=3",
)
TOLD = """\
seed          7
tasks         30 asked for, 30 acknowledged
ends          1 cancelled, 1 failed, 28 succeeded
failures      1 MODEL_UNAVAILABLE
kills         1 kill nats, 2 point docs
other faults  1 drop
fail points   2 of 17
in flight     100% of the kills
deliveries    2 succeeded; requests: 1 approved, 1 rejected
watches       15, 4 more times resumed
lost          0
duplicated    0
recovery      p50 0.5 s, p99 4.2 s
duration      61.0 s
passed"""


def test_a_good_run_is_told():
    assert "\n".join(GOOD.lines()) == TOLD


@pytest.mark.parametrize(
    "wrong", [{"lost": 1}, {"duplicated": 1}, {"findings": ["a task has two ends"]}, {"points_missed": ["work.done"]}]
)
def test_anything_wrong_fails_it(wrong):
    assert GOOD.passed
    assert not replace(GOOD, **wrong).passed


def test_a_failed_run_says_what_was_found_and_how_to_repeat_it():
    said = replace(GOOD, findings=["a task has two ends"]).lines()
    assert said[-4:] == ["FAILED", "  a task has two ends", "evidence: /tmp/chaos-7", GOOD.repeat]


def test_the_document_says_whether_it_passed():
    assert GOOD.document()["passed"] is True


def test_a_percentile_of_few_is_one_of_them():
    assert percentile([3.0, 1.0, 2.0], 0.5) == 2.0
    assert percentile([3.0, 1.0, 2.0], 0.99) == 3.0
    assert percentile([], 0.99) is None
