"""Starts parts in the order of their dependencies, restarts what dies, stops them in reverse; leaves none behind."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass

import structlog

from morningai.embedded.part import Part, PartFailed, PartObserver, PartState
from morningai.errors import MorningAIError

log = structlog.get_logger()

_POLL_SECONDS = 0.05


@dataclass(frozen=True)
class RestartPolicy:
    """A part that dies is started again after a delay that doubles; too many deaths in the window end everything."""

    first_delay_seconds: float = 0.2
    longest_delay_seconds: float = 5.0
    most_deaths: int = 10
    window_seconds: float = 60.0

    def delay_seconds(self, deaths: int) -> float:
        return min(self.first_delay_seconds * 2.0 ** (deaths - 1), self.longest_delay_seconds)


class Supervisor:
    """One life: `start`, `wait_until_stopped`, and `stop` in every case. `seconds` holds each part's first start."""

    def __init__(self, parts: Sequence[Part], observer: PartObserver, *, policy: RestartPolicy | None = None) -> None:
        _check_dependencies(parts)
        self._parts = tuple(parts)
        self._observer = observer
        self._policy = policy or RestartPolicy()
        self._up = {part.name: asyncio.Event() for part in parts}
        self._failure: PartFailed | None = None
        self._ending = asyncio.Event()
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self.seconds: dict[str, float] = {}

    def request_stop(self) -> None:
        self._ending.set()

    async def start(self) -> bool:
        """True when every part is up; false when a stop was requested before. Raises PartFailed."""
        for part in self._parts:
            self._report(part, PartState.WAITING)
            self._tasks[part.name] = asyncio.create_task(self._keep(part), name=f"part {part.name}")
        return await self._unless_stopped(self._all_up())

    async def wait_until_stopped(self) -> None:
        """Returns once a stop was requested. Raises PartFailed when a part died too often."""
        await self._unless_stopped(asyncio.Event().wait())

    async def stop(self) -> None:
        """Everything that depends on a part ends before it."""
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)
        stopped = {part.name: asyncio.Event() for part in self._parts}
        await asyncio.gather(*(self._stop_part(part, stopped) for part in self._parts))

    async def _stop_part(self, part: Part, stopped: dict[str, asyncio.Event]) -> None:
        dependents = [other.name for other in self._parts if part.name in other.depends_on]
        await asyncio.gather(*(stopped[name].wait() for name in dependents))
        try:
            if part.name in self._tasks:
                await self._stop_runner(part)
        finally:
            stopped[part.name].set()

    async def _stop_runner(self, part: Part) -> None:
        if not part.one_shot:
            self._report(part, PartState.STOPPING)
        began = time.monotonic()
        try:
            await part.runner.stop()
        except (MorningAIError, OSError) as error:
            log.error("embedded.part.not_stopped", part=part.name, error=str(error))
        if not part.one_shot:
            self._report(part, PartState.STOPPED, time.monotonic() - began)

    async def _all_up(self) -> None:
        await asyncio.gather(*(self._up[part.name].wait() for part in self._parts))

    async def _unless_stopped(self, work: Awaitable[object]) -> bool:
        """True when the work was done, false when a stop came first; raises the PartFailed that came first."""
        working: asyncio.Future[object] = asyncio.ensure_future(work)
        ending: asyncio.Future[object] = asyncio.ensure_future(self._ending.wait())
        try:
            await asyncio.wait({working, ending}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            working.cancel()
            ending.cancel()
        if self._failure:
            raise self._failure
        return not self._ending.is_set()

    async def _keep(self, part: Part) -> None:
        try:
            await asyncio.gather(*(self._up[name].wait() for name in part.depends_on))
            self.seconds[part.name] = await self._bring_up(part)
            if not part.one_shot:
                await self._restart_for_ever(part)
        except PartFailed as failure:
            self._give_up(part, failure)
            await part.runner.stop()

    def _give_up(self, part: Part, failure: PartFailed) -> None:
        self._report(part, PartState.FAILED, detail=failure.problem)
        if not part.essential:
            log.error("embedded.part.given_up", part=part.name, problem=failure.problem)
            self._up[part.name].set()
        else:
            self._failure = self._failure or failure
            self._ending.set()

    async def _bring_up(self, part: Part) -> float:
        """Seconds until it was healthy. Raises PartFailed when it ends or times out before."""
        self._report(part, PartState.STARTING)
        began = time.monotonic()
        try:
            async with asyncio.timeout(part.start_timeout_seconds):
                await self._start_and_wait(part)
        except TimeoutError as error:
            raise PartFailed(part.name, f"not ready after {part.start_timeout_seconds:g} s") from error
        except PartFailed:
            raise
        except MorningAIError as error:
            raise PartFailed(part.name, error.message, remedy=error.remedy) from error
        except Exception as error:  # whatever a runner raises is that part's failure
            log.debug("embedded.part.start_raised", part=part.name, exc_info=True)
            raise PartFailed(part.name, f"{type(error).__name__}: {error}") from error
        seconds = time.monotonic() - began
        self._report(part, PartState.DONE if part.one_shot else PartState.HEALTHY, seconds)
        self._up[part.name].set()
        return seconds

    async def _start_and_wait(self, part: Part) -> None:
        await part.runner.start()
        if part.one_shot:
            return
        ended = asyncio.ensure_future(part.runner.wait())
        try:
            while not await part.runner.healthy():
                await asyncio.wait({ended}, timeout=_POLL_SECONDS)
                if ended.done():
                    raise PartFailed(part.name, f"it {await ended}")
        finally:
            ended.cancel()

    async def _restart_for_ever(self, part: Part) -> None:
        deaths: deque[float] = deque()
        while True:
            reason = await part.runner.wait()
            deaths.append(time.monotonic())
            await self._bring_back(part, reason, deaths)

    async def _bring_back(self, part: Part, reason: str, deaths: deque[float]) -> None:
        """Start it again until it is healthy; each failed attempt is one more death."""
        while True:
            self._report(part, PartState.DIED, detail=reason)
            count = self._deaths_in_window(deaths)
            log.warning("embedded.part.died", part=part.name, deaths=count, reason=reason.splitlines()[0])
            if count >= self._policy.most_deaths:
                raise PartFailed(
                    part.name, f"died {count} times in {self._policy.window_seconds:g} s; last it {reason}"
                )
            await asyncio.sleep(self._policy.delay_seconds(count))
            try:
                await self._bring_up(part)
            except PartFailed as failure:
                await part.runner.stop()
                reason = failure.problem
                deaths.append(time.monotonic())
            else:
                return

    def _deaths_in_window(self, deaths: deque[float]) -> int:
        while deaths[-1] - deaths[0] > self._policy.window_seconds:
            deaths.popleft()
        return len(deaths)

    def _report(self, part: Part, state: PartState, seconds: float = 0.0, detail: str = "") -> None:
        self._observer.on_part_state(part.name, state, seconds, detail)


def _check_dependencies(parts: Sequence[Part]) -> None:
    """A part depends only on parts listed before it, so that there is no cycle."""
    known: set[str] = set()
    for part in parts:
        missing = set(part.depends_on) - known
        if missing or part.name in known:
            raise PartFailed(part.name, f"is listed twice, or before {sorted(missing)}")
        known.add(part.name)
