"""Whether the tables stay bounded: how fast what is over goes away while tasks run.

Every table of a running platform is filled with the rows of tasks that ended three months ago; then its services sweep
as they always do, only sooner. `python -m benchmarks.retention` exits with 1 when fewer tasks a second go away than a
busy platform takes in.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import psycopg
from rich.console import Console

from benchmarks.finished import FinishedTasks, Past
from benchmarks.growth import Platform, finished_task, running_platform
from benchmarks.orchestration import run_client
from benchmarks.processes import describe_machine, load
from benchmarks.report import Figure, print_figures

LEAST_PER_SECOND = 50.0
TENANTS = 10
# Longer ago than anything of a task is kept by default.
PAST = Past(since=timedelta(days=91), apart=timedelta(seconds=1))
SWEEP_SECONDS = 20.0
LOOK_SECONDS = 2.0
BURST_SECONDS = 3.0
LONGEST_SECONDS = 900.0
SERVICES = ("gateway", "orchestrator", "docs", "faqgen", "codegen")
TIMES = {
    **{f"{service}.outbox": "created_at" for service in SERVICES},
    **{f"{service}.inbox": "received_at" for service in SERVICES},
    "kernel.tasks": "closed_at",
    "gateway.tasks": "ended_at",
    "gateway.task_events": "received_at",
    "orchestrator.tasks": "ended_at",  # it goes after its checkpoints
}
OVER = " + ".join(
    f"(SELECT count(*) FROM {name} WHERE {column} < now() - interval '90 days')" for name, column in TIMES.items()
)


class NotSwept(Exception):
    """What was over is still there."""


@dataclass(frozen=True)
class Swept:
    """`rows` were over, of as many tasks as were asked for; so many more were orchestrated meanwhile."""

    rows: int
    seconds: float
    orchestrated: int


def measure(tasks: int, at_a_time: int) -> Swept:
    with (
        tempfile.TemporaryDirectory(prefix="mb-") as scratch,
        running_platform(Path(scratch) / "platform", sweep_seconds=SWEEP_SECONDS) as platform,
    ):
        platform.grow_to(TENANTS)
        FinishedTasks(platform.admin, finished_task(platform.admin)).grow_to(tasks, platform.tenants, PAST)
        began, rows = time.monotonic(), rows_over(platform.admin)
        with orchestrating(platform, at_a_time) as ended:
            while left := rows_over(platform.admin):
                if time.monotonic() - began > LONGEST_SECONDS:
                    raise NotSwept(f"{left} of {rows} rows are left after {LONGEST_SECONDS:g} s")
                time.sleep(LOOK_SECONDS)
            seconds = time.monotonic() - began
        return Swept(rows, seconds, sum(ended))


def rows_over(admin: psycopg.Connection) -> int:
    row = admin.execute(f"SELECT {OVER}").fetchone()
    assert row is not None
    return int(row[0])


@contextmanager
def orchestrating(platform: Platform, at_a_time: int) -> Iterator[list[int]]:
    """Bursts of tasks in another thread, one after the other; how many each ended is appended."""
    ended: list[int] = []
    stopped = threading.Event()

    def run_bursts() -> None:
        while not stopped.is_set():
            took, _ = run_client(platform.stack, platform.asking, at_a_time=at_a_time, seconds=BURST_SECONDS)
            ended.append(len(took.latencies))

    thread = threading.Thread(target=run_bursts)
    thread.start()
    try:
        yield ended
    finally:
        stopped.set()
        thread.join()


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.retention", description=__doc__)
    parser.add_argument("--json", action="store_true", help="one JSON document on standard output")
    parser.add_argument("--finished", type=int, default=5_000, help="tasks that are over at the start (default 5000)")
    parser.add_argument("--at-a-time", type=int, default=4, help="tasks in flight meanwhile (default 4)")
    given = parser.parse_args()
    before = load()
    swept = measure(given.finished, given.at_a_time)
    figures = [
        Figure(
            "finished tasks swept, tasks running beside",
            "a second",
            (given.finished / swept.seconds,),
            LEAST_PER_SECOND,
            note=f"{swept.rows} rows in {swept.seconds:.0f} s, the first sweep after {SWEEP_SECONDS:g}",
            least=True,
        ),
        Figure("tasks orchestrated meanwhile", "a second", (swept.orchestrated / swept.seconds,)),
    ]
    if given.json:
        print(json.dumps({"load": [before, load()], "figures": [figure.to_json() for figure in figures]}))
    else:
        console = Console(width=None if sys.stdout.isatty() else 120)
        print_figures(console, figures)
        machine = describe_machine()
        console.print(f"{machine.cores} cores of {machine.processor}. Load before {before}, after {load()}.")
    return 0 if all(figure.passed for figure in figures) else 1


if __name__ == "__main__":
    sys.exit(main())
