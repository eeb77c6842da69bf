"""One embedded MorningAI as a person starts it: `morningai up` in a process of its own, on a folder of its own."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import TypeVar
from uuid import uuid4

import psutil
import psycopg

from morningai.api.sources.v1 import sources_pb2 as sources
from morningai.api.tasks.v1 import tasks_pb2 as tasks
from morningai.api.tenants.v1 import tenants_pb2 as tenants
from morningai.cli.connection import Target
from morningai.cli.demo.platform import free_port, up_command
from morningai.cli.gateway import Gateway
from morningai.cli.outcome import Outcome, fetch_outcome
from morningai.cli.repository import find_repository, upload_parts, write_bundle
from morningai.cli.tracing import list_events
from morningai.embedded.data_dir import DataDir
from morningai.embedded.postgres import EmbeddedPostgres

T = TypeVar("T")

START_SECONDS = 120.0
STOP_SECONDS = 30.0
PATIENCE_SECONDS = 60.0
SERVICES = ("gateway", "orchestrator", "docs", "faqgen", "codegen", "tenancy")
ENDED = frozenset(
    {
        tasks.TASK_STATE_SUCCEEDED,
        tasks.TASK_STATE_PARTLY_SUCCEEDED,
        tasks.TASK_STATE_FAILED,
        tasks.TASK_STATE_CANCELLED,
        tasks.TASK_STATE_EXPIRED,
    }
)
# A model or a collector of the caller's own is not the tests'.
FOREIGN = ("OPENAI_", "OTEL_", "MORNINGAI_")


def eventually(what: str, check: Callable[[], T | None], *, seconds: float = PATIENCE_SECONDS) -> T:
    """The first value of `check` that is true."""
    deadline = time.monotonic() + seconds
    while not (value := check()):
        assert time.monotonic() < deadline, f"not within {seconds:g} s: {what}"
        time.sleep(0.05)
    return value


@dataclass
class Tenant:
    """A tenant's key in use."""

    gateway: Gateway
    slug: str

    def add_source(self, folder: Path, *, source_id: str = "") -> str:
        """Upload the repository at `folder` and return the source's name."""
        repository = find_repository(folder)
        bundle = folder.with_suffix(".bundle")
        write_bundle(repository, bundle)
        name = source_id or f"source-{uuid4().hex[:8]}"
        return self.gateway.upload(lambda: upload_parts(name, repository, bundle)).name

    def upload(self, source_id: str, content: bytes) -> sources.Source:
        """Upload these very bytes as a bundle."""
        source = sources.CreateSourceRequest(source=sources.Source(repository="garbage"), source_id=source_id)
        parts = (sources.UploadSourceRequest(source=source), sources.UploadSourceRequest(piece=content))
        return self.gateway.upload(lambda: iter(parts))

    def create(self, instruction: str, source: str, *kinds: str, ttl: timedelta | None = None) -> str:
        """Create a task and return its name."""
        task = tasks.Task(
            instruction=instruction,
            source=source,
            kinds=[tasks.TaskKind.Value(f"TASK_KIND_{kind.upper()}") for kind in kinds],
            ttl=ttl,
        )
        request = tasks.CreateTaskRequest(task=task, request_id=str(uuid4()))
        return self.gateway.call(self.gateway.tasks.CreateTask, request).name

    def get(self, task: str) -> tasks.Task:
        return self.gateway.call(self.gateway.tasks.GetTask, tasks.GetTaskRequest(name=task))

    def step(self, task: str, name: str) -> tasks.Step | None:
        return next((step for step in self.get(task).steps if step.step == name), None)

    def wait_for_step(self, task: str, name: str, state: tasks.StepState.ValueType) -> tasks.Step:
        def reached() -> tasks.Step | None:
            step = self.step(task, name)
            return step if step and step.state == state else None

        return eventually(f"step {name} of {task} is {tasks.StepState.Name(state)}", reached)

    def ended(self, task: str, *, seconds: float = PATIENCE_SECONDS) -> tasks.Task:
        def end() -> tasks.Task | None:
            found = self.get(task)
            return found if found.state in ENDED else None

        return eventually(f"{task} ends", end, seconds=seconds)

    def run(self, instruction: str, source: str, *kinds: str) -> Outcome:
        """A task from its creation to everything it made."""
        return fetch_outcome(self.gateway, self.ended(self.create(instruction, source, *kinds)))

    def events(self, task: str) -> list[tasks.TaskEvent]:
        return list_events(self.gateway, name=task)

    def cancel(self, task: str) -> None:
        self.gateway.call(self.gateway.tasks.CancelTask, tasks.CancelTaskRequest(name=task))


@dataclass
class Platform:
    """`start`, then `interrupt` or `kill`, then `start` again on the same data."""

    root: Path
    settings: Mapping[str, str] = field(default_factory=dict)
    use_model: bool = False
    port: int = field(default_factory=free_port)
    _process: subprocess.Popen[bytes] | None = None

    @property
    def data_dir(self) -> Path:
        return self.root / "data"

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def said(self) -> str:
        """What `up` wrote to its standard output and error since its last start."""
        return "".join(path.read_text() for path in (self.root / "out", self.root / "err") if path.exists())

    def start(self) -> None:
        """Returns once it says that it is ready."""
        self.root.mkdir(parents=True, exist_ok=True)
        kept = {name: value for name, value in os.environ.items() if not name.startswith(FOREIGN)}
        with (self.root / "out").open("wb") as out, (self.root / "err").open("wb") as err:
            self._process = subprocess.Popen(
                up_command(self.data_dir, self.port, use_model=self.use_model),
                env=kept | dict(self.settings),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                start_new_session=True,
            )
        eventually("`morningai up` is ready", self._is_ready, seconds=START_SECONDS)

    def _is_ready(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, f"`morningai up` ended: {self.said}"
        return any(json.loads(line)["event"] == "ready" for line in (self.root / "out").read_text().splitlines())

    def interrupt(self) -> int:
        """Ctrl-C; the exit code."""
        return self._end(signal.SIGINT)

    def kill(self) -> None:
        """kill -9 of the supervisor alone."""
        self._end(signal.SIGKILL)

    def _end(self, number: int) -> int:
        assert self._process is not None
        self._process.send_signal(number)
        code = self._process.wait(STOP_SECONDS)
        self._process = None
        return code

    def stop(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self.interrupt()

    def operator(self) -> Gateway:
        return Gateway(Target(self.address), (self.data_dir / "operator.key").read_text().strip())

    @contextmanager
    def tenant(self, slug: str = "") -> Iterator[Tenant]:
        """A new tenant of this platform."""
        slug = slug or f"tenant-{uuid4().hex[:8]}"
        request = tenants.CreateTenantRequest(tenant=tenants.Tenant(slug=slug, display_name=slug))
        with self.operator() as operator:
            key = operator.call(operator.tenants.CreateTenant, request, repeatable=False).api_key
        with Gateway(Target(self.address), key) as gateway:
            yield Tenant(gateway, slug)

    def admin(self) -> psycopg.Connection[tuple[object, ...]]:
        """As the superuser, whom no policy holds: to see what is stored, and to hold a step where it is."""
        dsn = EmbeddedPostgres(DataDir(self.data_dir).postgres).admin_dsn("morningai")
        return psycopg.connect(dsn, autocommit=True)

    def rows(self, query: str, *parameters: object) -> list[tuple[object, ...]]:
        with self.admin() as connection:
            return connection.execute(query, parameters).fetchall()  # type: ignore[arg-type]

    def rows_of(self, slug: str) -> dict[str, int]:
        """The number of rows of a tenant in each table that has any; every call counts against its rates."""
        named = self.rows(
            "SELECT table_schema || '.' || table_name FROM information_schema.columns "
            "WHERE column_name = 'tenant_id' AND table_schema = ANY (%s) AND table_name <> 'rates'",
            ["kernel", *SERVICES],
        )
        ((tenant_id,),) = self.rows("SELECT tenant_id FROM tenancy.tenants WHERE slug = %s", slug)
        count = "SELECT '{0}', count(*) FROM {0} WHERE tenant_id = %s"
        query = " UNION ALL ".join(count.format(name) for (name,) in named)
        return {str(name): int(str(rows)) for name, rows in self.rows(query, *[tenant_id] * len(named)) if rows}

    def service_pid(self, name: str) -> int:
        return int(json.loads(DataDir(self.data_dir).record_file(name).read_text())["pid"])

    def kill_service(self, name: str, number: int = signal.SIGKILL) -> None:
        """kill -9 of one service, or another signal; returns once the supervisor has started it again."""
        starts = self._logged_starts(name)
        os.kill(self.service_pid(name), number)
        eventually(f"{name} serves again", lambda: self._logged_starts(name) > starts)

    def lose_bus(self) -> None:
        """kill -9 of NATS, and everything that it stored is gone."""
        folder = DataDir(self.data_dir).nats
        (store,) = folder.rglob("jetstream/jetstream")
        shutil.rmtree(store)
        os.kill(int(json.loads((folder / "nats.child.json").read_text())["pid"]), signal.SIGKILL)

    def _logged_starts(self, name: str) -> int:
        return sum(line.get("event") == "service.started" for line in self.log_lines(name))

    def log_lines(self, *names: str) -> list[dict[str, object]]:
        """The services' log lines; every line of a service is JSON."""
        paths = [DataDir(self.data_dir).log_file(name) for name in names or SERVICES]
        complete = (path.read_text().rpartition("\n")[0] for path in paths)
        return [json.loads(line) for text in complete for line in text.splitlines()]

    def crashes(self) -> list[dict[str, object]]:
        """What the services logged about errors of their own."""
        return [line for line in self.log_lines() if line["level"] in ("error", "critical")]

    def processes(self) -> list[str]:
        """The command lines of every live process that has to do with the data folder."""
        return [line for process in psutil.process_iter() if (line := _command_line(process, str(self.data_dir)))]


def _command_line(process: psutil.Process, folder: str) -> str:
    """Empty for a process that neither names the folder nor has it in its environment."""
    try:
        if process.status() == psutil.STATUS_ZOMBIE:
            return ""
        line = " ".join(process.cmdline())
        return line if folder in line or any(folder in value for value in process.environ().values()) else ""
    except psutil.Error:
        return ""
