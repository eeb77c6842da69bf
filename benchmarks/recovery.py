"""How long tasks stand still after kill -9 of a service, each service in turn, under a light load.

`python -m benchmarks.recovery` prints a table and exits with 1 when a limit is not kept. One `morningai up` starts
again what was killed, so that the start of a process is in each figure.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from uuid import uuid4

import grpc
from rich.console import Console

from benchmarks.orchestration import make_repository, make_tenant
from benchmarks.processes import describe_machine, load, parts_of
from benchmarks.report import Figure, print_figures
from benchmarks.stack import Stack, StackFailed, running_stack
from morningai.api.tasks.v1 import tasks_pb2 as tasks
from morningai.cli.connection import Target
from morningai.cli.demo.platform import free_port
from morningai.cli.gateway import Gateway
from morningai.cli.wording import ENDED

VICTIMS = ("gateway", "orchestrator", "docs", "faqgen", "codegen", "tenancy")
LIMIT_SECONDS = 10.0
# Without a model a change fails at codegen, which is a step like any other here.
KINDS = (tasks.TASK_KIND_ANSWER, tasks.TASK_KIND_FAQ, tasks.TASK_KIND_DOCUMENT, tasks.TASK_KIND_CHANGE)
SOURCE = "benchmark"
LONGEST_SECONDS = 180.0
AGAIN_SECONDS = 0.1
# Between two kills, and from the start to the first.
REST_SECONDS = 5.0
PAGE_WIDTH = 120


class StoodStill(Exception):
    """A task did not move again."""


@dataclass(frozen=True)
class Move:
    """An event of a task: when the platform made it, and when the client heard of it, in seconds of the same clock."""

    made_at: float
    heard_at: float


@dataclass
class Follower:
    """One client: asks for a task, hears of it to its end, and asks for the next, whatever dies meanwhile."""

    gateway: Gateway
    number: int
    moves: list[Move] = field(default_factory=list)

    def run(self, is_over: Callable[[], bool]) -> None:
        while not is_over():
            self._follow(self._create(), is_over)

    def moved_after(self, moment: float) -> float | None:
        """When it heard of what its task has done since; None until then."""
        return next((move.heard_at for move in self.moves if move.made_at > moment), None)

    def _create(self) -> str:
        task = tasks.Task(instruction=f"What is it ({self.number})?", source=f"sources/{SOURCE}", kinds=KINDS)
        request = tasks.CreateTaskRequest(task=task, request_id=str(uuid4()))
        while True:
            try:
                return self.gateway.call(self.gateway.tasks.CreateTask, request).name
            except grpc.RpcError:
                time.sleep(AGAIN_SECONDS)

    def _follow(self, name: str, is_over: Callable[[], bool]) -> None:
        after = 0
        while not is_over():
            try:
                for event in self.gateway.watch(name, after=after):
                    after = event.sequence
                    self.moves.append(Move(event.time.ToNanoseconds() / 1e9, time.time()))
                    if event.task_state in ENDED:
                        return
            except grpc.RpcError:
                time.sleep(AGAIN_SECONDS)


@dataclass(frozen=True)
class Kill:
    victim: str
    seconds: tuple[float, ...]

    @property
    def slowest(self) -> float:
        return max(self.seconds)


def measure(*, rounds: int, at_a_time: int, say: Callable[[str], None]) -> list[Kill]:
    over = threading.Event()
    with (
        tempfile.TemporaryDirectory(prefix="mb-") as scratch,
        running_stack(Path(scratch) / "data", free_port()) as stack,
    ):
        key = make_tenant(stack, "benchmark", make_repository(Path(scratch) / "shop"))
        followers = [Follower(Gateway(Target(stack.gateway), key), number) for number in range(at_a_time)]
        threads = [threading.Thread(target=one.run, args=(over.is_set,), daemon=True) for one in followers]
        for thread in threads:
            thread.start()
        try:
            return [_kill(stack, victim, followers, say) for _ in range(rounds) for victim in VICTIMS]
        finally:
            over.set()
            for thread in threads:
                thread.join(LONGEST_SECONDS)


def _kill(stack: Stack, victim: str, followers: Sequence[Follower], say: Callable[[str], None]) -> Kill:
    time.sleep(REST_SECONDS)
    pid = _pid_of(stack, victim)
    killed_at = time.time()
    os.kill(pid, signal.SIGKILL)
    while any(one.moved_after(killed_at) is None for one in followers):
        if time.time() - killed_at > LONGEST_SECONDS:
            raise StoodStill(f"A task did not move within {LONGEST_SECONDS:g} s after kill -9 of {victim}.")
        time.sleep(0.01)
    moved = [one.moved_after(killed_at) for one in followers]
    kill = Kill(victim, tuple(at - killed_at for at in moved if at is not None))
    say(f"kill -9 of {victim}: every task has moved after {kill.slowest:.2f} s")
    return kill


def _pid_of(stack: Stack, victim: str) -> int:
    """Waits for the start of one that was killed before."""
    while victim not in (parts := parts_of(stack.pid)):
        time.sleep(AGAIN_SECONDS)
    return parts[victim][0]


def figures_of(kills: Sequence[Kill]) -> list[Figure]:
    """A kill counts by the task that stood still for longest; one that the victim has no part in moves on at once."""
    slowest = sorted(kill.slowest for kill in kills)
    p99 = slowest[min(int(len(slowest) * 0.99), len(slowest) - 1)]
    of_victims = {victim: tuple(kill.slowest for kill in kills if kill.victim == victim) for victim in VICTIMS}
    return [
        Figure("until every task moves again, p99", "s", (p99,), LIMIT_SECONDS, note=f"{len(kills)} kills"),
        Figure("until every task moves again, median", "s", (median(slowest),)),
        Figure("until a task moves again, median", "s", (median(each for kill in kills for each in kill.seconds),)),
        *(Figure(f"after kill -9 of {victim}", "s", seconds) for victim, seconds in of_victims.items()),
    ]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.recovery", description=__doc__)
    parser.add_argument("--json", action="store_true", help="one JSON document on standard output")
    parser.add_argument("--rounds", type=int, default=10, help="kills of each service (default 10)")
    parser.add_argument("--at-a-time", type=int, default=4, help="tasks in flight (default 4)")
    given = parser.parse_args()
    progress = Console(stderr=True, style="dim")
    before = load()
    try:
        kills = measure(
            rounds=given.rounds, at_a_time=given.at_a_time, say=lambda text: progress.print(f"· {text}", markup=False)
        )
    except (StackFailed, StoodStill) as error:
        progress.print(f"not measured: {error}", style="red", markup=False)
        return 1
    figures = figures_of(kills)
    if given.json:
        content = {"figures": [figure.to_json() for figure in figures], "load": [before, load()]}
        json.dump(content, sys.stdout, indent=2)
        sys.stdout.write("\n")
    else:
        console = Console(width=None if sys.stdout.isatty() else PAGE_WIDTH)
        print_figures(console, figures)
        machine = describe_machine()
        console.print(f"{machine.cores} cores of {machine.processor}. Load before {before}, after {load()}.")
    return 0 if all(figure.passed for figure in figures) else 1


if __name__ == "__main__":
    sys.exit(main())
