"""Orchestrated tasks per second and idle latency, beside Temporal's dev server and DBOS, one after the other.

`python -m benchmarks.orchestration` prints the figures and where the processor's time goes, and exits with 1 when a
goal is missed. A task is of three kinds; generators answer at once, as the peers' activities and children do.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from benchmarks.client import upload
from benchmarks.loop import Took
from benchmarks.plot import Bar, draw_bars
from benchmarks.processes import cpu_seconds, describe_machine, load, parts_of
from benchmarks.report import Figure, print_figures
from benchmarks.stack import Stack, running_stack
from morningai.api.tenants.v1 import tenants_pb2 as tenants
from morningai.api.tenants.v1 import usage_pb2 as usage
from morningai.cli.connection import Target
from morningai.cli.demo.platform import free_port
from morningai.cli.gateway import Gateway

ANSWERING = ("-m", "benchmarks.answering")
# DBOS looks at its queue once a second, unless it is told to do so more often.
PEERS = {
    "Temporal": ("benchmarks.temporal_peer",),
    "DBOS": ("benchmarks.dbos_peer",),
    "DBOS, 20 polls a second": ("benchmarks.dbos_peer", "--polling-seconds", "0.05"),
}
GOAL_PER_SECOND = 64.0
GOAL_IDLE_MILLISECONDS = 35.0
TENANTS = 8
WARM_UP_SECONDS = 4.0
NO_LIMIT = 1_000_000_000
LIMITS = ("create_task_calls", "watch_calls", "read_calls")
SOURCE = "benchmark"


@dataclass(frozen=True)
class Measured:
    """One engine. `cpu_milliseconds` of one task, by process; the client's own are in it."""

    idle: Took
    full: Took
    cpu_milliseconds: dict[str, float]

    @property
    def cpu_total(self) -> float:
        return sum(self.cpu_milliseconds.values())


@dataclass(frozen=True)
class Options:
    at_a_time: int
    seconds: float
    peers: bool


def measure_morningai(options: Options) -> Measured:
    with (
        tempfile.TemporaryDirectory(prefix="mb-") as scratch,
        running_stack(Path(scratch) / "data", free_port(), command=ANSWERING) as stack,
    ):
        repository = make_repository(Path(scratch) / "shop")
        keys = [make_tenant(stack, f"tenant-{number}", repository) for number in range(TENANTS)]
        run_client(stack, keys, at_a_time=1, seconds=WARM_UP_SECONDS)
        idle, _ = run_client(stack, keys[:1], at_a_time=1, seconds=options.seconds / 2)
        run_client(stack, keys, at_a_time=options.at_a_time, seconds=WARM_UP_SECONDS)
        before = cpu_of_parts(stack)
        full, client_seconds = run_client(stack, keys, at_a_time=options.at_a_time, seconds=options.seconds)
        after = cpu_of_parts(stack)
    spent = {name: after[name] - before[name] for name in after} | {"client": client_seconds}
    return Measured(idle, full, {name: 1000 * each / len(full.latencies) for name, each in spent.items()})


def make_repository(folder: Path) -> Path:
    folder.mkdir()
    (folder / "README.md").write_text("A shop.\n", encoding="utf-8")
    identity = ("-c", "user.name=benchmark", "-c", "user.email=benchmark@example.org")
    for arguments in (("init", "-q"), ("add", "."), (*identity, "commit", "-qm", "A shop")):
        subprocess.run(["git", "-C", str(folder), *arguments], check=True)
    return folder


def make_tenant(stack: Stack, slug: str, repository: Path) -> str:
    """Its key; no rate limit ends a run."""
    with Gateway(Target(stack.gateway), stack.operator_key) as operator:
        request = tenants.CreateTenantRequest(tenant=tenants.Tenant(slug=slug))
        created = operator.call(operator.tenants.CreateTenant, request, repeatable=False)
        names = [f"{limit}_{kind}" for limit in LIMITS for kind in ("per_minute", "burst")]
        changes = [usage.LimitChange(name=name, value=NO_LIMIT) for name in names]
        raised = usage.UpdateTenantLimitsRequest(tenant=created.tenant.name, changes=changes)
        operator.call(operator.usage.UpdateTenantLimits, raised)
    with Gateway(Target(stack.gateway), created.api_key) as gateway:
        upload(gateway, SOURCE, repository)
    return str(created.api_key)


def run_client(stack: Stack, keys: Sequence[str], *, at_a_time: int, seconds: float) -> tuple[Took, float]:
    """In a process of its own; with the processor seconds that it spent."""
    arguments = (stack.gateway, f"sources/{SOURCE}", str(at_a_time), str(seconds))
    said = _said(("benchmarks.task_client", *arguments), given="\n".join(keys))
    return _took(said), float(said["cpu_seconds"])


def cpu_of_parts(stack: Stack) -> dict[str, float]:
    return {name: cpu_seconds(pids) for name, pids in parts_of(stack.pid).items()}


def measure_peer(module: Sequence[str], options: Options) -> Measured:
    said = _said((*module, "--at-a-time", str(options.at_a_time), "--seconds", str(options.seconds)))
    return Measured(_took(said["idle"]), _took(said["full"]), {"all processes": said["cpu_milliseconds"]})


def _said(module: Sequence[str], *, given: str = "") -> dict:  # type: ignore[type-arg]  # as the program wrote it
    ran = subprocess.run([sys.executable, "-m", *module], input=given, stdout=subprocess.PIPE, text=True, check=True)
    return dict(json.loads(ran.stdout))


def _took(said: dict) -> Took:  # type: ignore[type-arg]
    return Took(said["seconds"], tuple(said["latencies"]))


def figures_of(measured: Mapping[str, Measured]) -> list[Figure]:
    figures = []
    for name, one in measured.items():
        ours = name == "MorningAI"
        goal = GOAL_PER_SECOND if ours else None
        figures += [
            Figure(f"{name}, tasks", "a second", (one.full.per_second,), goal, least=True),
            Figure(f"{name}, idle median", "ms", (1000 * one.idle.median,), GOAL_IDLE_MILLISECONDS if ours else None),
            Figure(f"{name}, idle p99", "ms", (1000 * one.idle.p99,)),
            Figure(f"{name}, median when saturated", "ms", (1000 * one.full.median,)),
            Figure(f"{name}, processor for a task", "ms", (one.cpu_total,)),
        ]
    return figures


def draw(measured: Mapping[str, Measured]) -> str:
    return draw_bars(
        ("Tasks a second, saturated", [Bar(name, one.full.per_second) for name, one in measured.items()]),
        ("Idle, ms from create to succeeded", [Bar(name, 1000 * one.idle.median) for name, one in measured.items()]),
        ("Processor ms for a task", [Bar(name, one.cpu_total) for name, one in measured.items()]),
    )


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.orchestration", description=__doc__)
    parser.add_argument("--json", action="store_true", help="one JSON document on standard output")
    parser.add_argument("--at-a-time", type=int, default=64, help="tasks in flight when saturated (default 64)")
    parser.add_argument("--seconds", type=float, default=20.0, help="of each measurement (default 20)")
    parser.add_argument("--alone", action="store_true", help="without the peers")
    parser.add_argument("--plot", type=Path, help="write the throughputs and latencies as SVG")
    given = parser.parse_args()
    options = Options(given.at_a_time, given.seconds, not given.alone)
    before = load()
    measured = {"MorningAI": measure_morningai(options)}
    if options.peers:
        measured |= {name: measure_peer(module, options) for name, module in PEERS.items()}
    figures = figures_of(measured)
    parts = measured["MorningAI"].cpu_milliseconds
    if given.plot:
        given.plot.write_text(draw(measured), encoding="utf-8")
    if given.json:
        shown = [figure.to_json() for figure in figures]
        content = {"figures": shown, "cpu_milliseconds": parts, "load": [before, load()]}
        json.dump(content, sys.stdout, indent=2)
        sys.stdout.write("\n")
    else:
        console = Console(width=None if sys.stdout.isatty() else 120)
        print_figures(console, figures)
        for name, milliseconds in sorted(parts.items(), key=lambda part: -part[1]):
            console.print(f"{name:>14} {milliseconds:6.2f} ms of processor for a task", highlight=False)
        machine = describe_machine()
        console.print(f"{machine.cores} cores of {machine.processor}. Load before {before}, after {load()}.")
    return 0 if all(figure.passed for figure in figures) else 1


if __name__ == "__main__":
    sys.exit(main())
