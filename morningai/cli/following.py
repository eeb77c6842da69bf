"""Following a task to its end: its events in order and without a gap, through connections that break."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import grpc

from morningai.api.tasks.v1 import tasks_pb2 as api
from morningai.cli.gateway import Gateway, status_of
from morningai.cli.progress import Progress
from morningai.cli.wording import ENDED

RESUMABLE = frozenset({grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED, grpc.StatusCode.ABORTED})
LONGEST_DELAY_SECONDS = 5.0


class WatchInterrupted(Exception):
    """A person stopped watching; the task goes on."""


@dataclass(frozen=True)
class Patience:
    """How long a silent platform is waited for."""

    attempts: int = 15
    first_delay_seconds: float = 0.2

    def delay_seconds(self, failures: int) -> float:
        return min(self.first_delay_seconds * 2.0 ** (failures - 1), LONGEST_DELAY_SECONDS)


def follow(
    gateway: Gateway,
    task: str,
    progress: Progress,
    *,
    patience: Patience | None = None,
    sleep: Callable[[float], None] = time.sleep,
) -> api.Task:
    """Shows the events until the task's end and returns the ended task. Raises WatchInterrupted on Ctrl-C."""
    try:
        with progress:
            for event in _events(gateway, task, progress, patience or Patience(), sleep):
                progress.on_event(event)
    except KeyboardInterrupt as interrupt:
        raise WatchInterrupted(task) from interrupt
    return gateway.call(gateway.tasks.GetTask, api.GetTaskRequest(name=task))


def _events(
    gateway: Gateway, task: str, progress: Progress, patience: Patience, sleep: Callable[[float], None]
) -> Iterator[api.TaskEvent]:
    after, failures = 0, 0
    while True:
        try:
            for event in gateway.watch(task, after=after, progress=True):
                after, failures = event.sequence or after, 0
                yield event
                if event.task_state in ENDED:
                    return
        except grpc.RpcError as error:
            failures = failures_after(error, failures, patience)
            if failures:
                progress.on_lost(failures)
        else:
            if _has_ended(gateway, task):
                return
            failures += 1
        sleep(patience.delay_seconds(failures) if failures else 0.0)


def failures_after(error: grpc.RpcError, failures: int, patience: Patience) -> int:
    """One more for a connection that broke, as many for a watch whose time was up; raises what no repetition can
    heal."""
    code = status_of(error)
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return failures
    if code not in RESUMABLE or failures + 1 >= patience.attempts:
        raise error
    return failures + 1


def _has_ended(gateway: Gateway, task: str) -> bool:
    return gateway.call(gateway.tasks.GetTask, api.GetTaskRequest(name=task)).state in ENDED
