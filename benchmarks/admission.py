"""What a tenant with 1,000 queued tasks costs another one's task.

`python -m benchmarks.admission` prints a table and exits with 1 when a limit is not kept.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from uuid import uuid4

from rich.console import Console

from benchmarks.client import run_task, upload
from benchmarks.processes import describe_machine, load
from benchmarks.report import Figure, print_figures
from benchmarks.stack import Stack, running_stack
from morningai.api.tasks.v1 import tasks_pb2 as tasks
from morningai.api.tenants.v1 import tenants_pb2 as tenants
from morningai.api.tenants.v1 import usage_pb2 as usage
from morningai.cli.connection import Target
from morningai.cli.demo.platform import free_port
from morningai.cli.gateway import Gateway

QUEUED = 1_000
# What leaves the queue while it is measured.
SPARE = 600
BESIDE_FACTOR = 2.0
NO_LIMIT = 1_000_000_000
SOURCE = "small"
QUESTION = "How does the widget keep time?"
README = "# Widget\n\nThe widget keeps time with a quartz crystal. It strikes every hour.\n"
SETTLING_SECONDS = 2.0
CREATORS = 8
PAGE_WIDTH = 120


@dataclass(frozen=True)
class Tenant:
    name: str
    gateway: Gateway


def measure(*, turns: int, tasks_per_turn: int, concurrency: int) -> list[Figure]:
    with (
        tempfile.TemporaryDirectory(prefix="mb-") as scratch,
        running_stack(Path(scratch) / "up", free_port()) as stack,
    ):
        repository = _repository(Path(scratch) / "small")
        noisy, quiet = _tenant(stack, "noisy", repository), _tenant(stack, "quiet", repository)
        _limit(stack, noisy, create_task_calls_per_minute=NO_LIMIT, concurrent_tasks=0, active_tasks=NO_LIMIT)
        _limit(stack, quiet, create_task_calls_per_minute=NO_LIMIT)
        _seconds_of(quiet, tasks_per_turn)
        last = _fill(noisy, QUEUED + SPARE)
        alone, beside = [], []
        for _ in range(turns):
            _limit(stack, noisy, concurrent_tasks=0)
            time.sleep(SETTLING_SECONDS)
            alone.append(_seconds_of(quiet, tasks_per_turn))
            _limit(stack, noisy, concurrent_tasks=concurrency)
            time.sleep(SETTLING_SECONDS)
            beside.append(_seconds_of(quiet, tasks_per_turn))
        left = _position(noisy, last)
    return _figures(alone, beside, left=left, concurrency=concurrency)


def _figures(alone: list[list[float]], beside: list[list[float]], *, left: int, concurrency: int) -> list[Figure]:
    """The factor is of all tasks of either kind: the p99 of a turn is its slowest task."""
    factor = _p99([each for turn in beside for each in turn]) / _p99([each for turn in alone for each in turn])
    medians = [median(b) / median(a) for a, b in zip(alone, beside, strict=True)]
    running = f"{concurrency} of the other's run at a time"
    return [
        Figure(f"p99 beside a tenant with {QUEUED} queued tasks", "times", (factor,), BESIDE_FACTOR, note=running),
        Figure("median, the same, turn by turn", "times", tuple(medians)),
        Figure("p99 alone", "ms", (1000 * _p99([each for turn in alone for each in turn]),)),
        Figure("p99 beside them", "ms", (1000 * _p99([each for turn in beside for each in turn]),)),
        Figure("median alone", "ms", tuple(1000 * median(turn) for turn in alone)),
        Figure("median beside them", "ms", tuple(1000 * median(turn) for turn in beside)),
        Figure("still queued at the end", "tasks", (float(left),)),
    ]


def _seconds_of(tenant: Tenant, count: int) -> list[float]:
    """One task after the other, from the request to the event that ends it."""
    ended = [run_task(tenant.gateway, SOURCE, QUESTION, tasks.TASK_KIND_ANSWER) for _ in range(count)]
    failed = [each for each in ended if each.state != "succeeded"]
    if failed:
        raise RuntimeError(f"{len(failed)} tasks did not succeed: {failed[0]}")
    return [each.seconds for each in ended]


def _fill(tenant: Tenant, count: int) -> str:
    """The name of the last of so many tasks, which stay in the queue."""
    wanted = tasks.Task(instruction=QUESTION, source=f"sources/{SOURCE}", kinds=[tasks.TASK_KIND_ANSWER])

    def create(_: int) -> tasks.Task:
        request = tasks.CreateTaskRequest(task=wanted, request_id=str(uuid4()))
        return tenant.gateway.call(tenant.gateway.tasks.CreateTask, request)

    with ThreadPoolExecutor(CREATORS) as pool:
        list(pool.map(create, range(count - 1)))
    last = create(0).name
    while (
        _position(tenant, last) < count - CREATORS
    ):  # the last of them may have passed some that were asked for beside it
        time.sleep(0.2)
    return last


def _position(tenant: Tenant, name: str) -> int:
    found = tenant.gateway.call(tenant.gateway.tasks.GetTask, tasks.GetTaskRequest(name=name))
    return found.queue_place.position


def _repository(folder: Path) -> Path:
    folder.mkdir()
    (folder / "README.md").write_text(README, encoding="utf-8")
    author = ("-c", "user.name=Ada", "-c", "user.email=ada@example.org")
    for command in (("init", "--quiet", "--initial-branch=main"), ("add", "."), (*author, "commit", "-qm", "first")):
        subprocess.run(["git", *command], cwd=folder, check=True)
    return folder


def _tenant(stack: Stack, slug: str, repository: Path) -> Tenant:
    with Gateway(Target(stack.gateway), stack.operator_key) as operator:
        request = tenants.CreateTenantRequest(tenant=tenants.Tenant(slug=slug))
        created = operator.call(operator.tenants.CreateTenant, request, repeatable=False)
    gateway = Gateway(Target(stack.gateway), created.api_key)
    upload(gateway, SOURCE, repository)
    return Tenant(created.tenant.name, gateway)


def _limit(stack: Stack, tenant: Tenant, **values: int) -> None:
    changes = [usage.LimitChange(name=name, value=value) for name, value in values.items()]
    with Gateway(Target(stack.gateway), stack.operator_key) as operator:
        request = usage.UpdateTenantLimitsRequest(tenant=tenant.name, changes=changes)
        operator.call(operator.usage.UpdateTenantLimits, request)


def _p99(values: list[float]) -> float:
    return sorted(values)[int(len(values) * 0.99)]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--turns", type=int, default=5, help="of alone and beside")
    parser.add_argument("--tasks", type=int, default=40, help="of the quiet tenant in each half of a turn")
    parser.add_argument("--concurrency", type=int, default=1, help="tasks of the noisy tenant that run at a time")
    options = parser.parse_args()
    before = load()
    figures = measure(turns=options.turns, tasks_per_turn=options.tasks, concurrency=options.concurrency)
    if options.json:
        print(json.dumps({"figures": [figure.to_json() for figure in figures]}, indent=2))
    else:
        console = Console(width=None if sys.stdout.isatty() else PAGE_WIDTH)
        print_figures(console, figures)
        console.print(f"{describe_machine()}")
        console.print(f"Load of the machine before: {before}, after: {load()}.")
    return 0 if all(figure.passed for figure in figures) else 1


if __name__ == "__main__":
    sys.exit(main())
