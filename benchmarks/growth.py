"""What a task costs as the tables fill: the same burst on a platform that has just begun and on one that has grown.

Both run at the same time and are measured by turns, so that the machine's other work falls on both. Exits with 1 when
the grown one orchestrates less than four fifths as many tasks a second. `python -m benchmarks.growth --sizes 10x1000 …`
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from statistics import median
from uuid import UUID

import grpc
import psycopg
from rich.console import Console

from benchmarks.finished import FinishedTasks, Past
from benchmarks.loop import Took
from benchmarks.orchestration import (
    ANSWERING,
    WARM_UP_SECONDS,
    cpu_of_parts,
    make_repository,
    make_tenant,
    run_client,
)
from benchmarks.processes import describe_machine, load
from benchmarks.report import Figure, print_figures
from benchmarks.stack import Stack, running_stack
from morningai.api.tenants.v1 import tenants_pb2 as tenants
from morningai.cli.connection import Target
from morningai.cli.demo.platform import free_port
from morningai.cli.gateway import Gateway, status_of
from morningai.embedded.data_dir import DataDir
from morningai.embedded.postgres import EmbeddedPostgres
from morningai.embedded.services import DATABASE

LEAST_OF_BASE = 0.8
# A laptop's memory: what has grown is the tables, not the number of those who ask at a time.
ASKING_TENANTS = 32
# The youngest a little ago, so that no sweep takes one away while it is measured, and the oldest within a day: their
# checkpoints are kept for so long.
PAST = Past(since=timedelta(minutes=1), apart=timedelta(seconds=0.75))
TEMPLATE = "SELECT task_id FROM orchestrator.tasks WHERE state = 'succeeded' ORDER BY ended_at LIMIT 1"
SCANNED = """
SELECT relid::regclass::text, seq_tup_read FROM pg_stat_user_tables
WHERE schemaname IN ('kernel', 'gateway', 'orchestrator', 'docs', 'faqgen', 'codegen', 'tenancy')
"""
SHOWN_TABLES = 5
SETTLING_SECONDS = 3.0
# Longer than it takes: a sweep that fell into one platform's turn would be taken for growth.
SWEEP_SECONDS = 3600.0


@dataclass(frozen=True)
class Size:
    tenants: int
    finished: int

    @staticmethod
    def parse(written: str) -> Size:
        tenants, _, finished = written.partition("x")
        return Size(int(tenants), int(finished))

    def __str__(self) -> str:
        return f"{self.tenants:,} tenants, {self.finished:,} finished"


@dataclass(frozen=True)
class Turn:
    """One burst and one idle measurement. `scanned` is the rows that a task read by going through whole tables."""

    per_second: float
    idle: float
    cpu: Mapping[str, float]
    scanned: Mapping[str, float]

    @property
    def cpu_total(self) -> float:
        return sum(self.cpu.values())


@dataclass(frozen=True)
class Options:
    sizes: Sequence[Size]
    rounds: int
    at_a_time: int
    seconds: float


@dataclass
class Platform:
    """A running platform and those of its tenants that ask for tasks."""

    stack: Stack
    admin: psycopg.Connection
    repository: Path
    asking: list[str] = field(default_factory=list)
    tenants: list[UUID] = field(default_factory=list)

    def grow_to(self, count: int) -> None:
        while len(self.tenants) < count:
            slug = f"tenant-{len(self.tenants)}"
            if len(self.asking) < ASKING_TENANTS:
                self.asking.append(make_tenant(self.stack, slug, self.repository))
            else:
                self._make_silent_tenant(slug)
            self.tenants.append(self._tenant_id(slug))

    def _make_silent_tenant(self, slug: str) -> None:
        """Operators, too, may call only so often."""
        request = tenants.CreateTenantRequest(tenant=tenants.Tenant(slug=slug))
        with Gateway(Target(self.stack.gateway), self.stack.operator_key) as operator:
            while True:
                try:
                    operator.call(operator.tenants.CreateTenant, request, repeatable=False)
                except grpc.RpcError as error:
                    if status_of(error) is not grpc.StatusCode.RESOURCE_EXHAUSTED:
                        raise
                    time.sleep(1)
                else:
                    return

    def _tenant_id(self, slug: str) -> UUID:
        row = self.admin.execute("SELECT tenant_id FROM tenancy.tenants WHERE slug = %s", (slug,)).fetchone()
        assert row is not None
        return UUID(str(row[0]))

    def warm_up(self) -> None:
        run_client(self.stack, self.asking, at_a_time=4, seconds=WARM_UP_SECONDS)

    def take_turn(self, options: Options) -> Turn:
        idle, _ = run_client(self.stack, self.asking[:1], at_a_time=1, seconds=options.seconds / 3)
        cpu, scanned = cpu_of_parts(self.stack), self._scanned()
        full, client = run_client(self.stack, self.asking, at_a_time=options.at_a_time, seconds=options.seconds)
        spent = _less(cpu_of_parts(self.stack), cpu) | {"client": client}
        return Turn(full.per_second, idle.median, _each(spent, full), _each(_less(self._scanned(), scanned), full))

    def _scanned(self) -> dict[str, float]:
        time.sleep(1.5)  # a backend tells what it did once a second
        return {str(name): float(count) for name, count in self.admin.execute(SCANNED).fetchall()}


def _less(after: Mapping[str, float], before: Mapping[str, float]) -> dict[str, float]:
    return {name: value - before.get(name, 0.0) for name, value in after.items()}


def _each(spent: Mapping[str, float], took: Took) -> dict[str, float]:
    return {name: value / len(took.latencies) for name, value in spent.items()}


@contextmanager
def running_platform(folder: Path, *, sweep_seconds: float = SWEEP_SECONDS) -> Iterator[Platform]:
    folder.mkdir()
    repository = make_repository(folder / "shop")
    data = DataDir.at(folder / "data")
    command = (*ANSWERING, "--sweep-seconds", str(sweep_seconds))
    with ExitStack() as stack:
        running = stack.enter_context(running_stack(data.root, free_port(), command=command))
        dsn = EmbeddedPostgres(data.postgres).admin_dsn(DATABASE)
        platform = Platform(running, stack.enter_context(psycopg.connect(dsn, autocommit=True)), repository)
        platform.grow_to(1)
        platform.warm_up()
        yield platform


def finished_task(admin: psycopg.Connection) -> UUID:
    """One that the platform ran, after the last message of it has arrived."""
    time.sleep(SETTLING_SECONDS)
    row = admin.execute(TEMPLATE).fetchone()
    assert row is not None
    return UUID(str(row[0]))


def measure(options: Options) -> Iterator[tuple[Size, list[tuple[Turn, Turn]]]]:
    """Of each size the turns of the platform that has just begun, each with that of the grown one after it."""
    with (
        tempfile.TemporaryDirectory(prefix="mb-") as scratch,
        running_platform(Path(scratch) / "base") as base,
        running_platform(Path(scratch) / "grown") as grown,
    ):
        finished = FinishedTasks(grown.admin, finished_task(grown.admin))
        for size in options.sizes:
            grown.grow_to(size.tenants)
            finished.grow_to(size.finished, grown.tenants, PAST)
            grown.warm_up()
            yield size, [(base.take_turn(options), grown.take_turn(options)) for _ in range(options.rounds)]


def figures_of(size: Size, turns: Sequence[tuple[Turn, Turn]]) -> list[Figure]:
    throughput = tuple(grown.per_second / base.per_second for base, grown in turns)
    return [
        Figure(f"{size}: tasks a second, over base", "times", throughput, LEAST_OF_BASE, least=True),
        Figure(f"{size}: tasks a second", "", tuple(grown.per_second for _, grown in turns), note=_note(turns)),
        Figure(f"{size}: idle, over base", "times", tuple(grown.idle / base.idle for base, grown in turns)),
        Figure(f"{size}: processor, over base", "times", tuple(g.cpu_total / b.cpu_total for b, g in turns)),
        Figure(
            f"{size}: PostgreSQL's, over base", "times", tuple(g.cpu["postgres"] / b.cpu["postgres"] for b, g in turns)
        ),
    ]


def _note(turns: Sequence[tuple[Turn, Turn]]) -> str:
    return f"base {median(base.per_second for base, _ in turns):.1f}"


def most_scanned(turns: Sequence[tuple[Turn, Turn]]) -> list[tuple[str, float, float]]:
    """The tables of which a task on the grown platform goes through the most rows, with base's rows beside them."""
    found = [
        (name, median(base.scanned[name] for base, _ in turns), median(grown.scanned[name] for _, grown in turns))
        for name in turns[0][1].scanned
    ]
    return sorted(found, key=lambda table: -table[2])[:SHOWN_TABLES]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.growth", description=__doc__)
    parser.add_argument("--json", action="store_true", help="one JSON document on standard output")
    sizes = parser.add_argument("--sizes", nargs="+", type=Size.parse, metavar="TENANTSxFINISHED")
    sizes.default = [Size(10, 1_000), Size(100, 5_000)]
    parser.add_argument("--rounds", type=int, default=3, help="turns of each platform at each size (default 3)")
    parser.add_argument("--at-a-time", type=int, default=32, help="tasks in flight in a burst (default 32)")
    parser.add_argument("--seconds", type=float, default=6.0, help="of each burst (default 6)")
    given = parser.parse_args()
    console = Console(width=None if sys.stdout.isatty() else 120, stderr=given.json)
    before, figures, scanned = load(), [], {}
    for size, turns in measure(Options(given.sizes, given.rounds, given.at_a_time, given.seconds)):
        figures += figures_of(size, turns)
        scanned[str(size)] = most_scanned(turns)
        console.print(f"{size}: measured; load {load()}", highlight=False)
    if given.json:
        shown = [figure.to_json() for figure in figures]
        json.dump({"figures": shown, "scanned": scanned, "load": [before, load()]}, sys.stdout, indent=2)
        sys.stdout.write("\n")
    else:
        print_figures(console, figures)
        for at, tables in scanned.items():
            rows = ", ".join(f"{name} {there:.0f} (base {here:.0f})" for name, here, there in tables)
            console.print(f"{at}: rows scanned for a task: {rows}", highlight=False)
        machine = describe_machine()
        console.print(f"{machine.cores} cores of {machine.processor}. Load before {before}, after {load()}.")
    return 0 if all(figure.passed for figure in figures) else 1


if __name__ == "__main__":
    sys.exit(main())
