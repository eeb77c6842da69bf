"""A whole MorningAI to be ill-treated: services twice, patched, behind proxies, and a hand on each process."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import psycopg

from morningai.cli.connection import Target
from morningai.cli.demo.platform import free_port
from morningai.cli.gateway import Gateway
from morningai.embedded.data_dir import DataDir
from morningai.embedded.postgres import EmbeddedPostgres
from morningai.embedded.process import Command
from tests.chaos import detour, fail_points, stacks
from tests.chaos.proxy import Loop, Proxy
from tests.chaos.service import FOLDER, PATCHES
from tests.e2e.platform import FOREIGN, SERVICES, eventually

REPOSITORY = Path(__file__).parents[2]
REPLICAS = tuple(f"{name}-2" for name in SERVICES)
PARTS = (*SERVICES, *REPLICAS, "nats", "postgres")
START_SECONDS = 180.0
STOP_SECONDS = 60.0
OWN_PATCHES = (detour.__name__, fail_points.__name__, stacks.__name__)


@dataclass
class ChaosPlatform:
    """`folder` becomes the run's evidence; `patches` are installed after the run's own."""

    folder: Path
    loop: Loop
    settings: Mapping[str, str]
    patches: Sequence[str] = ()
    ports: tuple[int, int] = field(default_factory=lambda: (free_port(), free_port()))
    sockets: Path = field(default_factory=lambda: Path(tempfile.mkdtemp(prefix="chaos-")))
    _process: subprocess.Popen[bytes] | None = None
    _started: dict[str, tuple[int, float]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        (self.folder / fail_points.ARMED).mkdir(parents=True, exist_ok=True)
        self.proxies = {"nats": Proxy(self.nats), "postgres": Proxy(self._postgres)}

    @property
    def data(self) -> DataDir:
        return DataDir(self.folder / "data")

    def nats(self) -> tuple[str, int]:
        return "127.0.0.1", int((self.data.nats / "port").read_text())

    def _postgres(self) -> Path:
        return EmbeddedPostgres(self.data.postgres).sockets / ".s.PGSQL.5432"

    def start(self) -> None:
        port = self.loop.run(self.proxies["nats"].listen(("127.0.0.1", 0)))
        self.loop.run(self.proxies["postgres"].listen(self.sockets / ".s.PGSQL.5432"))
        kept = {name: value for name, value in os.environ.items() if not name.startswith(FOREIGN)}
        own = {
            "PYTHONPATH": str(REPOSITORY),
            PATCHES: ",".join((*OWN_PATCHES, *self.patches)),
            FOLDER: str(self.folder),
            detour.NATS: f"nats://127.0.0.1:{port}",
            detour.POSTGRES: str(self.sockets),
        }
        arguments = (sys.executable, "-m", "tests.chaos.up", str(self.data.root), *map(str, self.ports))
        with (self.folder / "up.out").open("wb") as said:
            self._process = subprocess.Popen(
                Command(arguments, death_signal=signal.SIGTERM).launch_arguments(),
                env=kept | own | dict(self.settings),
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
                start_new_session=True,
            )
        eventually("the platform is ready", self._is_ready, seconds=START_SECONDS)

    def _is_ready(self) -> bool:
        said = (self.folder / "up.out").read_text()
        assert self.running, f"the platform ended: {said}"
        return '"event": "ready"' in said

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def stop(self) -> None:
        if self._process is not None and self.running:
            self._process.send_signal(signal.SIGINT)
            self._process.wait(STOP_SECONDS)
        for proxy in self.proxies.values():
            self.loop.run(proxy.close())
        shutil.rmtree(self.sockets, ignore_errors=True)

    def gateway(self, number: int, key: str) -> Gateway:
        return Gateway(Target(f"127.0.0.1:{self.ports[number % 2]}"), key)

    def operator(self) -> Gateway:
        return self.gateway(0, self.data.operator_key_file.read_text().strip())

    @property
    def dsn(self) -> str:
        """The superuser's, past the proxy."""
        return EmbeddedPostgres(self.data.postgres).admin_dsn("morningai")

    def rows(self, query: str, *parameters: object) -> list[tuple[object, ...]]:
        with psycopg.connect(self.dsn, autocommit=True) as connection:
            return connection.execute(query, parameters).fetchall()  # type: ignore[arg-type]

    def pid(self, part: str) -> int | None:
        """None while it is not there."""
        folders = {"nats": self.data.nats, "postgres": self.data.postgres}
        record = folders[part] / f"{part}.child.json" if part in folders else self.data.record_file(part)
        try:
            pid = int(json.loads(record.read_text())["pid"])
        except (OSError, ValueError):
            return None
        return pid if _lives(pid) else None

    def part_of(self, pid: int) -> str | None:
        return next((part for part in PARTS if self.pid(part) == pid), None)

    def send(self, part: str, number: int) -> int | None:
        """Signal the process of a part, and with a stop or its end all that PostgreSQL or a worker has started."""
        pid = self.pid(part)
        if pid is None:
            return None
        others = _children(pid) if number in (signal.SIGSTOP, signal.SIGCONT) else []
        for one in (pid, *others):
            _signal(one, number)
        return pid

    def lose_bus(self) -> int | None:
        """kill -9 of NATS, and everything that it stored is gone."""
        pid = self.send("nats", signal.SIGKILL)
        for store in self.data.nats.rglob("jetstream/jetstream"):
            shutil.rmtree(store, ignore_errors=True)
        return pid

    def write_stacks(self) -> None:
        """What every service's tasks wait for, as evidence of what is stuck."""
        for part in (*SERVICES, *REPLICAS):
            self.send(part, signal.SIGUSR1)

    def arm(self, point: str, service: str) -> None:
        (self.folder / fail_points.ARMED / f"{point}@{service}").touch()

    def disarm(self) -> list[str]:
        """Whatever nobody passed."""
        left = sorted(path.name for path in (self.folder / fail_points.ARMED).iterdir())
        for name in left:
            (self.folder / fail_points.ARMED / name).unlink(missing_ok=True)
        return left

    def wait_until_whole(self, *, seconds: float) -> None:
        eventually("every process runs", lambda: all(self.pid(part) for part in PARTS), seconds=seconds)
        time.sleep(0)


def _lives(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def _children(pid: int) -> list[int]:
    try:
        return [child.pid for child in psutil.Process(pid).children(recursive=True)]
    except psutil.Error:
        return []


def _signal(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return
