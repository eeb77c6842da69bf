from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import pytest

from morningai.embedded.part import Part, PartFailed, PartState
from morningai.embedded.supervisor import RestartPolicy, Supervisor
from morningai.errors import Unavailable

QUICK = RestartPolicy(first_delay_seconds=0.001, longest_delay_seconds=0.002, most_deaths=4, window_seconds=60)


@dataclass
class Observer:
    """Keeps what it was told, for the test to read."""

    told: list[tuple[str, PartState]] = field(default_factory=list)
    details: list[str] = field(default_factory=list)

    def on_part_state(self, name: str, state: PartState, seconds: float, detail: str) -> None:
        self.told.append((name, state))
        self.details.append(detail)

    def names(self, state: PartState) -> list[str]:
        return [name for name, seen in self.told if seen is state]


class FakeRunner:
    """A part without a process. `lives` says of each start whether it lives or ends at once."""

    def __init__(self, *, lives: tuple[bool, ...] = (), ready: bool = True, error: Exception | None = None) -> None:
        self.starts = 0
        self.stopped = False
        self._lives = lives
        self._ready = ready
        self._error = error
        self.other: FakeRunner | None = None
        self._ended = asyncio.Event()

    async def start(self) -> None:
        if self._error:
            raise self._error
        self.starts += 1
        self._ended.clear()
        if self.starts <= len(self._lives) and not self._lives[self.starts - 1]:
            self.die()

    async def healthy(self) -> bool:
        other_started = self.other is None or self.other.starts > 0
        return self._ready and other_started and not self._ended.is_set()

    async def wait(self) -> str:
        await self._ended.wait()
        return "ended with exit code 7; the end of docs.log:\ncannot open the box"

    async def stop(self) -> None:
        self.stopped = True
        self._ended.set()

    def die(self) -> None:
        self._ended.set()


async def seen(observer: Observer, name: str, state: PartState, times: int) -> None:
    async with asyncio.timeout(5):
        while observer.told.count((name, state)) < times:  # noqa: ASYNC110
            await asyncio.sleep(0.001)


async def test_a_part_starts_after_what_it_depends_on() -> None:
    observer = Observer()
    parts = [Part("postgres", FakeRunner()), Part("docs", FakeRunner(), depends_on=("postgres",))]
    supervisor = Supervisor(parts, observer)
    assert await supervisor.start()
    assert observer.told.index(("postgres", PartState.HEALTHY)) < observer.told.index(("docs", PartState.STARTING))
    await supervisor.stop()


async def test_parts_that_do_not_depend_on_each_other_start_side_by_side() -> None:
    """Each is ready only when the other has started."""
    postgres, nats = FakeRunner(), FakeRunner()
    postgres.other, nats.other = nats, postgres
    supervisor = Supervisor([Part("postgres", postgres), Part("nats", nats)], Observer())
    async with asyncio.timeout(5):
        assert await supervisor.start()
    await supervisor.stop()


async def test_the_seconds_of_every_part_are_recorded() -> None:
    parts = [Part("migrate", FakeRunner(), one_shot=True), Part("docs", FakeRunner(), depends_on=("migrate",))]
    supervisor = Supervisor(parts, Observer())
    await supervisor.start()
    assert set(supervisor.seconds) == {"migrate", "docs"}
    await supervisor.stop()


async def test_a_one_shot_part_is_done_and_not_restarted() -> None:
    observer, runner = Observer(), FakeRunner()
    supervisor = Supervisor([Part("migrate", runner, one_shot=True)], observer)
    await supervisor.start()
    runner.die()
    await asyncio.sleep(0.01)
    assert observer.told[-1] == ("migrate", PartState.DONE)
    await supervisor.stop()


async def test_parts_stop_in_reverse_order() -> None:
    observer = Observer()
    parts = [
        Part("postgres", FakeRunner()),
        Part("docs", FakeRunner(), depends_on=("postgres",)),
        Part("gateway", FakeRunner(), depends_on=("docs",)),
    ]
    supervisor = Supervisor(parts, observer)
    await supervisor.start()
    await supervisor.stop()
    assert observer.names(PartState.STOPPED) == ["gateway", "docs", "postgres"]


async def test_a_part_that_ends_during_the_start_shows_its_last_lines() -> None:
    supervisor = Supervisor([Part("docs", FakeRunner(lives=(False,)))], Observer())
    with pytest.raises(PartFailed, match=r"docs: it ended with exit code 7(.|\n)*cannot open the box") as caught:
        await supervisor.start()
    assert caught.value.part == "docs"
    await supervisor.stop()


async def test_a_part_that_never_gets_ready_fails_after_its_time() -> None:
    supervisor = Supervisor([Part("docs", FakeRunner(ready=False), start_timeout_seconds=0.02)], Observer())
    with pytest.raises(PartFailed, match=r"not ready after 0\.02 s"):
        await supervisor.start()
    await supervisor.stop()


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (Unavailable("no such program.", remedy="Install it."), "no such program. Install it."),
        (ZeroDivisionError("division"), "ZeroDivisionError: division"),
    ],
)
async def test_whatever_a_runner_raises_is_that_parts_failure(error: Exception, words: str) -> None:
    supervisor = Supervisor([Part("nats", FakeRunner(error=error))], Observer())
    with pytest.raises(PartFailed) as caught:
        await supervisor.start()
    assert str(caught.value) == f"nats: {words}"
    await supervisor.stop()


async def test_a_failed_start_still_stops_the_parts_that_came_up() -> None:
    postgres = FakeRunner()
    parts = [Part("postgres", postgres), Part("docs", FakeRunner(lives=(False,)), depends_on=("postgres",))]
    supervisor = Supervisor(parts, Observer())
    with pytest.raises(PartFailed):
        await supervisor.start()
    await supervisor.stop()
    assert postgres.stopped


async def test_a_part_that_dies_is_started_again() -> None:
    observer, runner = Observer(), FakeRunner()
    supervisor = Supervisor([Part("docs", runner)], observer, policy=QUICK)
    await supervisor.start()
    runner.die()
    await seen(observer, "docs", PartState.HEALTHY, 2)
    assert runner.starts == 2
    await supervisor.stop()


async def test_a_part_that_dies_again_while_it_restarts_gets_another_try() -> None:
    observer, runner = Observer(), FakeRunner(lives=(True, False, True))
    supervisor = Supervisor([Part("docs", runner)], observer, policy=QUICK)
    await supervisor.start()
    runner.die()
    await seen(observer, "docs", PartState.HEALTHY, 2)
    assert observer.names(PartState.DIED) == ["docs", "docs"]
    await supervisor.stop()


async def test_a_part_that_dies_too_often_ends_everything_with_the_reason() -> None:
    runner = FakeRunner(lives=(True, False, False, False, False))
    supervisor = Supervisor([Part("docs", runner)], Observer(), policy=QUICK)
    await supervisor.start()
    runner.die()
    with pytest.raises(PartFailed, match=r"died 4 times in 60 s(.|\n)*cannot open the box"):
        await supervisor.wait_until_stopped()
    await supervisor.stop()


async def test_deaths_that_are_long_ago_do_not_count() -> None:
    policy = RestartPolicy(first_delay_seconds=0.001, most_deaths=2, window_seconds=0.01)
    observer, runner = Observer(), FakeRunner()
    supervisor = Supervisor([Part("docs", runner)], observer, policy=policy)
    await supervisor.start()
    runner.die()
    await seen(observer, "docs", PartState.HEALTHY, 2)
    await asyncio.sleep(0.02)
    runner.die()
    await seen(observer, "docs", PartState.HEALTHY, 3)
    await supervisor.stop()


async def test_without_a_part_that_is_not_essential_the_others_start() -> None:
    observer = Observer()
    model = Part("model", FakeRunner(lives=(False,)), essential=False)
    supervisor = Supervisor([model, Part("docs", FakeRunner(), depends_on=("model",))], observer)
    assert await supervisor.start()
    assert (observer.names(PartState.FAILED), observer.names(PartState.HEALTHY)) == (["model"], ["docs"])
    await supervisor.stop()


async def test_a_stop_during_the_start_ends_the_wait() -> None:
    runner = FakeRunner(ready=False)
    supervisor = Supervisor([Part("docs", runner)], Observer())
    asyncio.get_running_loop().call_later(0.01, supervisor.request_stop)
    assert not await supervisor.start()
    await supervisor.stop()
    assert runner.stopped


async def test_a_requested_stop_ends_the_run() -> None:
    supervisor = Supervisor([Part("docs", FakeRunner())], Observer())
    await supervisor.start()
    supervisor.request_stop()
    await supervisor.wait_until_stopped()
    await supervisor.stop()


async def test_a_part_cannot_depend_on_one_that_comes_later() -> None:
    with pytest.raises(PartFailed, match="postgres"):
        Supervisor([Part("docs", FakeRunner(), depends_on=("postgres",)), Part("postgres", FakeRunner())], Observer())


def test_the_delay_doubles_up_to_its_limit() -> None:
    delays = [RestartPolicy().delay_seconds(deaths) for deaths in (1, 2, 3, 4, 5, 6, 9)]
    assert delays == [0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0]
