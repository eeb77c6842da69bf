from __future__ import annotations

import asyncio
from dataclasses import dataclass

import pytest

from morningai.ending import end
from morningai.liveness import Liveness, StuckLoops, keep_health


@dataclass
class FakeClock:
    seconds: float = 100.0

    def __call__(self) -> float:
        return self.seconds

    def advance(self, seconds: float, liveness: Liveness) -> list[str]:
        """As time passes for a process that is not frozen: somebody looks each second."""
        stuck: list[str] = []
        for _ in range(int(seconds)):
            self.seconds += 1.0
            stuck = liveness.look()
        return stuck


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
def liveness(clock):
    return Liveness(stuck_seconds=10.0, clock=clock)


def test_a_loop_that_does_not_pass_is_stuck_once_its_time_is_over(clock, liveness):
    liveness.loop("relay")
    assert clock.advance(10, liveness) == []
    assert clock.advance(1, liveness) == ["relay"]


def test_a_loop_that_passes_again_is_well(clock, liveness):
    loop = liveness.loop("relay")
    clock.advance(15, liveness)
    loop.passed()
    assert liveness.look() == []


def test_a_loop_may_wait_for_as_long_as_it_says(clock, liveness):
    loop = liveness.loop("codegen-work 0")
    loop.passed(next_waits_seconds=20.0)
    assert clock.advance(30, liveness) == []
    assert clock.advance(1, liveness) == ["codegen-work 0"]


def test_one_loop_that_passes_does_not_speak_for_another(clock, liveness):
    liveness.loop("relay")
    passing = liveness.loop("codegen-work 0")
    clock.advance(15, liveness)
    passing.passed()
    assert liveness.look() == ["relay"]


def test_a_loop_that_stays_stuck_for_as_long_again_ends_the_service(clock, liveness):
    liveness.loop("relay")
    assert clock.advance(20, liveness) == ["relay"]
    with pytest.raises(StuckLoops, match="These loops are stuck: relay"):
        clock.advance(1, liveness)


def test_a_process_that_was_frozen_itself_has_no_stuck_loops(clock, liveness):
    liveness.loop("relay")
    clock.advance(1, liveness)
    clock.seconds += 3600.0
    assert liveness.look() == []
    assert clock.advance(11, liveness) == ["relay"]


async def test_the_health_check_is_told_of_each_change_once():
    told: list[bool] = []
    liveness = Liveness(stuck_seconds=1.5)
    loop = liveness.loop("relay")

    async def set_serving(serving: bool) -> None:
        told.append(serving)
        loop.passed(next_waits_seconds=60.0)

    keeping = asyncio.create_task(keep_health(liveness, set_serving))
    await asyncio.sleep(4.5)
    await end(keeping)
    assert told == [False, True]
