"""Holds an embedded MorningAI without a model to its limits on a laptop: start, memory, idle load, time to an answer.

`python -m benchmarks.laptop` prints a table and exits with 1 when a limit is not kept.
"""

from __future__ import annotations

import argparse
import json
import socket
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

from rich.console import Console

from benchmarks.client import Ended, create_tenant, run_task, upload
from benchmarks.processes import cpu_seconds, describe_machine, load, parts_of, pss_mib
from benchmarks.report import Figure, print_figures
from benchmarks.stack import Stack, StackFailed, packages_have_bytecode, running_stack
from morningai.api.tasks.v1 import tasks_pb2 as tasks
from morningai.cli.gateway import Gateway
from morningai.errors import MorningAIError

REPOSITORY = Path(__file__).parents[1]
SERVICES = ("gateway", "orchestrator", "docs", "faqgen", "codegen", "tenancy")
SECONDS, MIB, PERCENT = "s", "MiB", "% of a core"
FIRST_START_SECONDS = 15.0
LATER_START_SECONDS = 8.0
SERVICES_MIB = 700.0
SERVICES_PERCENT = 3.0
ANSWER_SECONDS = 2.0
PAGE_WIDTH = 120
QUESTIONS = (
    "How does the relay publish messages?",
    "What happens when a worker dies in the middle of long work?",
    "Which services are there and how do they talk to each other?",
    "How is a tenant's identity proven?",
    "Where are API keys stored?",
    "What does the orchestrator do when a step times out?",
    "How are quotes resolved to files and lines?",
    "What does the sandbox forbid?",
    "How is a duplicate message recognised?",
    "Which tables does the gateway own?",
    "How does `morningai up` start PostgreSQL?",
)
EVERY_KIND = (
    (tasks.TASK_KIND_ANSWER, "What is the system architecture?"),
    (tasks.TASK_KIND_FAQ, "What should a newcomer know?"),
    (tasks.TASK_KIND_DOCUMENT, "Describe the system architecture."),
    (tasks.TASK_KIND_CHANGE, "Make the failing test pass."),
)


class UnexpectedEnd(Exception):
    """A task ended otherwise than it must: its time would mean nothing."""


@dataclass(frozen=True)
class Options:
    repetitions: int
    idle_seconds: float
    say: Callable[[str], None]


@dataclass
class Run:
    figures: list[Figure] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def add(
        self, name: str, unit: str, *values: float, limit: float | None = None, strict: bool = False, note: str = ""
    ) -> None:
        self.figures.append(Figure(name, unit, values, limit, note, strict))


def measure(options: Options) -> Run:
    run = Run()
    if not packages_have_bytecode():
        run.notes.append(
            "The packages were installed without bytecode (uv sync --compile-bytecode): starts are slower."
        )
    with tempfile.TemporaryDirectory(prefix="morningai-benchmark-") as scratch:
        first = [_start(options, Path(scratch) / f"first-{n}", "first") for n in range(options.repetitions)]
        data_dir = Path(scratch) / "first-0"
        later = [_start(options, data_dir, "later") for _ in range(options.repetitions - 1)]
        options.say("a later start, and the work")
        with running_stack(data_dir, _free_port()) as stack:
            later.append(stack)
            _add_starts(run, first, later)
            _work(run, stack, options)
            _idle(run, stack, options)
    return run


def _start(options: Options, data_dir: Path, word: str) -> Stack:
    options.say(f"a {word} start")
    with running_stack(data_dir, _free_port()) as stack:
        return stack


def _add_starts(run: Run, first: list[Stack], later: list[Stack]) -> None:
    for name, stacks, limit in (
        ("first start, to all healthy", first, FIRST_START_SECONDS),
        ("later start, to all healthy", later, LATER_START_SECONDS),
    ):
        run.add(name, SECONDS, *(stack.start_seconds for stack in stacks), limit=limit)
        spent = (stack.cpu_seconds for stack in stacks)
        run.add(f"{name.partition(',')[0]}, processor time", SECONDS, *spent, note="user and system, all processes")


def _work(run: Run, stack: Stack, options: Options) -> None:
    with create_tenant(stack.gateway, stack.operator_key, "benchmark") as gateway:
        options.say("cold indexing")
        uploads, indexed = zip(*(_index(gateway, f"benchmark-{n}") for n in range(options.repetitions)), strict=True)
        run.add("upload of a bundle", SECONDS, *uploads)
        run.add(
            "cold indexing",
            SECONDS,
            *(ended.steps["index"] for ended in indexed),
            note=indexed[0].summaries["index"],
        )
        options.say("questions")
        services = {name: pids for name, pids in parts_of(stack.pid).items() if name in SERVICES}
        before = cpu_seconds(pid for pids in services.values() for pid in pids)
        answers = [_task(gateway, "benchmark-0", question, tasks.TASK_KIND_ANSWER) for question in QUESTIONS]
        spent = cpu_seconds(pid for pids in services.values() for pid in pids) - before
        seconds = [ended.seconds for ended in answers]
        run.add(
            "new question, create to succeeded",
            SECONDS,
            *seconds,
            limit=ANSWER_SECONDS,
            note=f"{len(seconds)} questions, this repository indexed",
        )
        run.add("new question, processor time", SECONDS, spent / len(answers), note="mean, six services")
        _every_kind(run, gateway, options)


def _index(gateway: Gateway, source_id: str) -> tuple[float, Ended]:
    """A new source has read nothing: the first task on it reads every file."""
    upload_seconds = upload(gateway, source_id, REPOSITORY)
    return upload_seconds, _task(gateway, source_id, EVERY_KIND[0][1], tasks.TASK_KIND_ANSWER)


def _every_kind(run: Run, gateway: Gateway, options: Options) -> None:
    for kind, instruction in EVERY_KIND:
        name = tasks.TaskKind.Name(kind).removeprefix("TASK_KIND_").lower()
        options.say(f"a task of kind {name}")
        ended = _task(gateway, "benchmark-0", instruction, kind)
        run.add(f"one {name} task", SECONDS, ended.seconds, note=f"{ended.state} {ended.reason}".strip())
    run.notes.append("A change needs a model: without one its task must fail with model_unavailable, and did.")


def _task(gateway: Gateway, source_id: str, instruction: str, kind: tasks.TaskKind.ValueType) -> Ended:
    ended = run_task(gateway, source_id, instruction, kind)
    wanted = ("failed", "model_unavailable") if kind == tasks.TASK_KIND_CHANGE else ("succeeded", "")
    if (ended.state, ended.reason) != wanted:
        raise UnexpectedEnd(f"'{instruction}' ended as {ended.state} {ended.reason}, not as {' '.join(wanted)}")
    return ended


def _idle(run: Run, stack: Stack, options: Options) -> None:
    options.say(f"{options.idle_seconds:g} s of rest")
    time.sleep(options.idle_seconds)
    parts = parts_of(stack.pid)
    memory = {name: pss_mib(pids) for name, pids in parts.items()}
    options.say(f"the load of {options.idle_seconds:g} s at rest")
    began, before = time.monotonic(), {name: cpu_seconds(pids) for name, pids in parts.items()}
    time.sleep(options.idle_seconds)
    window = time.monotonic() - began
    percent = {name: (cpu_seconds(pids) - before[name]) / window * 100 for name, pids in parts.items()}
    after = f"{options.idle_seconds:g} s after a task of every kind"
    total_mib = sum(memory[name] for name in SERVICES)
    total_percent = sum(percent[name] for name in SERVICES)
    run.add("six services, memory", MIB, total_mib, limit=SERVICES_MIB, note=f"PSS, {after}")
    run.add("six services, at rest", PERCENT, total_percent, limit=SERVICES_PERCENT, strict=True, note=after)
    for name in sorted(memory, key=lambda name: (name not in SERVICES, -memory[name])):
        run.add(f"{name}, memory", MIB, memory[name], note=f"{percent[name]:.2f} {PERCENT} at rest")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.laptop", description=__doc__)
    parser.add_argument("--json", action="store_true", help="one JSON document on standard output")
    parser.add_argument("--repetitions", type=int, default=3, help="starts and cold indexings (default 3)")
    parser.add_argument("--idle-seconds", type=float, default=60.0, help="rest before and while idling (default 60)")
    given = parser.parse_args()
    progress = Console(stderr=True, style="dim")
    machine, load_before = describe_machine(), load()
    try:
        run = measure(Options(given.repetitions, given.idle_seconds, lambda text: progress.print(f"· {text}")))
    except (StackFailed, UnexpectedEnd, MorningAIError) as error:
        progress.print(f"not measured: {error}", style="red", markup=False)
        return 1
    loads = {"load_before": load_before, "load_after": load()}
    passed = all(figure.passed for figure in run.figures)
    if given.json:
        figures = [figure.to_json() for figure in run.figures]
        content = {"passed": passed, "machine": asdict(machine), **loads, "figures": figures, "notes": run.notes}
        json.dump(content, sys.stdout, indent=2)
        sys.stdout.write("\n")
    else:
        console = Console(width=None if sys.stdout.isatty() else PAGE_WIDTH)
        print_figures(console, run.figures)
        console.print(
            f"{machine.cores} cores of {machine.processor}, {machine.memory_mib} MiB, Linux {machine.kernel}."
        )
        console.print(f"Load of the machine before: {loads['load_before']}, after: {loads['load_after']}.")
        for note in run.notes:
            console.print(note)
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
