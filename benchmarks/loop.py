"""A closed loop: so many runs at a time, each followed by the next, until the time is up."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from statistics import median, quantiles

Run = Callable[[], Awaitable[object]]


@dataclass(frozen=True)
class Took:
    """What ended between the first start and the last: how many, in how many seconds, and how long each took."""

    seconds: float
    latencies: tuple[float, ...]

    @property
    def per_second(self) -> float:
        return len(self.latencies) / self.seconds

    @property
    def median(self) -> float:
        return median(self.latencies)

    @property
    def p99(self) -> float:
        return quantiles(self.latencies, n=100)[98]

    def to_json(self) -> dict[str, object]:
        return {"seconds": self.seconds, "latencies": self.latencies}


async def in_flight(runs: Sequence[Run], *, at_a_time: int, seconds: float) -> Took:
    """`runs` take turns. All that were begun are waited for and counted, in the time until the last has ended."""
    began = time.perf_counter()
    latencies: list[float] = []

    async def one_after_the_other(number: int) -> None:
        while time.perf_counter() - began < seconds:
            started = time.perf_counter()
            await runs[number % len(runs)]()
            latencies.append(time.perf_counter() - started)

    async with asyncio.TaskGroup() as group:
        for number in range(at_a_time):
            group.create_task(one_after_the_other(number))
    return Took(time.perf_counter() - began, tuple(latencies))
