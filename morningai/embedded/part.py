"""What the supervisor runs: a part, its states, and the error that names the part that failed.

A part's runner is the only thing that knows how the part works; the supervisor knows only this module.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from morningai.errors import FailedPrecondition


class PartState(StrEnum):
    WAITING = "waiting"
    STARTING = "starting"
    HEALTHY = "healthy"
    DONE = "done"
    DIED = "died"
    FAILED = "failed"
    STOPPING = "stopping"
    STOPPED = "stopped"


class Runner(Protocol):
    """How one part is run. `start` may be called again after `wait` has returned."""

    async def start(self) -> None:
        """Start it and return at once; a one-shot part returns when its work is done."""

    async def healthy(self) -> bool:
        """True once it can be used. Asked again and again, so it must be cheap and never raise."""

    async def wait(self) -> str:
        """Return when it has ended by itself, with what is known of why: the exit code and its last log lines."""

    async def stop(self) -> None:
        """End it, by force after its grace period. Harmless when it is not running."""


@dataclass(frozen=True)
class Part:
    """`environment` is what services need to reach this part; it is known before the part starts."""

    name: str
    runner: Runner
    depends_on: tuple[str, ...] = ()
    one_shot: bool = False
    essential: bool = True
    start_timeout_seconds: float = 60.0
    environment: Mapping[str, str] = field(default_factory=dict)


class PartObserver(Protocol):
    def on_part_state(self, name: str, state: PartState, seconds: float, detail: str) -> None:
        """`seconds` since the part began to start (0 while it waits); `detail` is for a person and often empty."""


class PartFailed(FailedPrecondition):
    """A part that did not come up, or died too often."""

    reason = "PART_FAILED"

    def __init__(self, part: str, problem: str, *, remedy: str = "") -> None:
        super().__init__(f"{part}: {problem}", remedy=remedy)
        self.part = part
        self.problem = problem
