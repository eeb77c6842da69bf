"""The demo itself: platform, tenant, sources, two tasks, and everything they made on the screen."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from morningai.api.tenants.v1 import tenants_pb2 as tenants
from morningai.cli.adding import add_local
from morningai.cli.connection import EMBEDDED, parse_address
from morningai.cli.credentials import FILE_NAME, CredentialsFile
from morningai.cli.demo.judgement import EXTRACTIVE, shortcomings_of_change, shortcomings_of_main
from morningai.cli.demo.model_choice import prepare_model
from morningai.cli.demo.platform import Ready, UpCommand, free_port, running_platform, up_command
from morningai.cli.demo.report import Report
from morningai.cli.demo.repositories import (
    FIX_INSTRUCTION,
    DemoRepository,
    current_repository,
    make_broken_repository,
)
from morningai.cli.exit_code import ExitCode
from morningai.cli.following import WatchInterrupted, follow
from morningai.cli.gateway import Gateway
from morningai.cli.outcome import Outcome, fetch_outcome
from morningai.cli.output import Output
from morningai.cli.progress import make_progress
from morningai.cli.showing import show_outcome
from morningai.cli.tracing import list_events, show_timeline
from morningai.cli.work import create_task

QUESTION = "What is the system architecture?"


@dataclass(frozen=True)
class DemoOptions:
    """`data_dir` None: a temporary one that goes when the demo succeeded."""

    folder: Path
    data_dir: Path | None = None
    json_path: Path | None = None
    up_command: UpCommand = up_command


def run_demo(output: Output, options: DemoOptions) -> ExitCode:
    """Raises MorningAIError, grpc.RpcError and KeyboardInterrupt after everything was stopped."""
    scratch = Path(tempfile.mkdtemp(prefix="morningai-demo-"))
    demo = _Demo(output, options, scratch)
    try:
        with _interrupted_by_signals():
            demo.run()
    except WatchInterrupted as interrupt:
        raise KeyboardInterrupt from interrupt
    finally:
        demo.leave()
    return ExitCode.FAILED if demo.report.shortcomings else ExitCode.SUCCESS


class _Demo:
    def __init__(self, output: Output, options: DemoOptions, scratch: Path) -> None:
        self.report = Report(shortcomings=["The demo did not reach its end."])
        self._output = output
        self._options = options
        self._scratch = scratch
        self._data_dir = options.data_dir or scratch / "data"

    def run(self) -> None:
        began = time.monotonic()
        repository = self.report.repository = current_repository(self._options.folder, self._scratch)
        self._say_repository(repository)
        use_model = prepare_model(self._output, os.environ)
        command = self._options.up_command(self._data_dir, free_port(), use_model=use_model)
        with contextlib.ExitStack() as until_stopped:
            with self._output.waiting("Starting PostgreSQL, NATS and the six services …"):
                platform = running_platform(command, errors_file=self._scratch / "up.log")
                ready = until_stopped.enter_context(platform)
            self.report.engine = ready.engine
            self._output.line(f"Started in {ready.seconds:.1f} s; engine {ready.engine}.")
            with self._gateway_of_a_tenant(ready) as gateway:
                self._do_main_job(gateway, repository)
                self._do_change(gateway)
                self._show_traces()
        self._say_end(time.monotonic() - began)

    def leave(self) -> None:
        """Scratch stays where somebody still needs it: for the logs of a failure, or for a check of the citations."""
        if self._options.json_path:
            self.report.write(self._options.json_path)
        if self.report.shortcomings:
            self._output.line(f"Logs: {self._data_dir / 'logs'} and {self._scratch / 'up.log'}", style="dim")
            return
        repository = self.report.repository
        if self._options.json_path and repository and repository.temporary:
            self._output.line(f"The cited repository stays in {repository.local.folder}.", style="dim")
            shutil.rmtree(self._scratch / "data", ignore_errors=True)
        else:
            shutil.rmtree(self._scratch, ignore_errors=True)

    def _gateway_of_a_tenant(self, ready: Ready) -> Gateway:
        target = parse_address(ready.gateway)
        slug = f"demo-{secrets.token_hex(3)}"
        with Gateway(target, ready.operator_key_file.read_text(encoding="utf-8").strip()) as operator:
            request = tenants.CreateTenantRequest(tenant=tenants.Tenant(slug=slug, display_name="Demo"))
            created = operator.call(operator.tenants.CreateTenant, request, repeatable=False)
        CredentialsFile(self._data_dir / FILE_NAME).store(EMBEDDED, tenant=slug, key=created.api_key)
        self._output.line(f"Tenant {slug} and its key are created.")
        return Gateway(target, created.api_key)

    def _do_main_job(self, gateway: Gateway, repository: DemoRepository) -> None:
        self._output.heading("An answer, an FAQ and a document")
        outcome = self._do(gateway, repository, QUESTION, kinds=("answer", "faq", "document"))
        self.report.main = outcome
        show_outcome(self._output, outcome)

    def _do_change(self, gateway: Gateway) -> None:
        self._output.heading("A change of a repository whose test fails")
        repository = make_broken_repository(self._scratch / "pricing")
        outcome = self._do(gateway, repository, FIX_INSTRUCTION, kinds=("change",))
        self.report.change = outcome
        show_outcome(self._output, outcome)

    def _do(self, gateway: Gateway, repository: DemoRepository, instruction: str, *, kinds: Sequence[str]) -> Outcome:
        with self._output.waiting(f"Adding {repository.local.name} …"):
            source = add_local(gateway, repository.source_id, repository.local)
        self._output.line(f"{source.name} @{repository.local.commit[:7]} is added.")
        task = create_task(gateway, instruction, source=source.name, kinds=kinds)
        ended = follow(gateway, task.name, make_progress(self._output))
        self.report.events.append(list_events(gateway, name=task.name))
        return fetch_outcome(gateway, ended)

    def _show_traces(self) -> None:
        self._output.heading("Traces")
        outcomes = [outcome for outcome in (self.report.main, self.report.change) if outcome]
        for outcome, events in zip(outcomes, self.report.events, strict=True):
            show_timeline(self._output, outcome.task, events)

    def _say_repository(self, repository: DemoRepository) -> None:
        if repository.note:
            self._output.line(repository.note, style="yellow")
        local = repository.local
        self._output.line(f"Repository {local.name} @{local.commit[:7]}")
        if local.uncommitted_count:
            self._output.line(f"{local.uncommitted_count} uncommitted changes are not included.", style="yellow")

    def _say_end(self, seconds: float) -> None:
        assert self.report.main is not None
        assert self.report.change is not None
        self.report.shortcomings = [
            *shortcomings_of_main(self.report.main),
            *shortcomings_of_change(self.report.change, self.report.engine),
        ]
        for shortcoming in self.report.shortcomings:
            self._output.line(shortcoming, style="red")
        if not self.report.shortcomings and self.report.engine == EXTRACTIVE:
            self._output.line("Without a model the change was refused, as it must be.")
        end = "failed" if self.report.shortcomings else "succeeded"
        self._output.line(f"The demo {end} in {seconds:.0f} s. Everything is stopped.", style="bold")
        if self._options.data_dir and not self.report.shortcomings:
            self._output.line(f"Look around: morningai up --data-dir {self._data_dir}", style="dim")


@contextlib.contextmanager
def _interrupted_by_signals() -> Iterator[None]:
    """What ends the demo from outside ends it as Ctrl-C does, so that nothing is left running."""

    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    before = {number: signal.signal(number, interrupt) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
